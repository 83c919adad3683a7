"""The `backtest` command's sub-commands, one module each."""
