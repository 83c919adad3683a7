"""Other engines that ours is measured against and proved by, each in an environment of its own."""
