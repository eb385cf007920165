"""Runs a command that must fail: STATUS REGEX COMMAND... One line on standard error matches, and standard output stays empty."""

import re
import subprocess
import sys

status, pattern, *command = sys.argv[1:]
done = subprocess.run(command, capture_output=True, text=True)
lines = done.stderr.splitlines()
problems = []
if done.returncode != int(status):
    problems.append(f"exit status {done.returncode}, expected {status}")
if done.stdout:
    problems.append(f"standard output: {done.stdout}")
if len(lines) != 1 or not re.match(pattern, lines[0]):
    problems.append(f"standard error, expected one line that matches {pattern!r}:\n{done.stderr}")
if problems:
    sys.exit("\n".join([" ".join(command), *problems]))
