# Lists the targets of the Makefile with the text after `##`, and prints its closing comment.
BEGIN { print "make TARGET [VARIABLE=VALUE …]" }
/^# -- targets/ { in_targets = 1; next }
!in_targets { next }
/^# [A-Z][a-z ]*$/ { printf "\n%s\n", substr($0, 3); next }
/^[a-z-]+:.*## / { split($0, parts, /:.*## /); printf "  %-26s %s\n", parts[1], parts[2]; next }
/^# Variables/ { in_variables = 1; print "" }
in_variables { print substr($0, 3) }
