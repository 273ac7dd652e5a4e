#!/usr/bin/env bash
# The README followed in an empty folder, as a new user would: writes docs/first-run.md.
#   tools/first_run.sh FOLDER     # FOLDER must not exist; about 1.3 GB, some minutes
# TORCH: what is typed instead of the README's first line where its index cannot be reached.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$1
mkdir "$folder" && cd "$folder"
folder=$PWD
export HOME=$folder/home COLUMNS=110
mkdir "$HOME"
unset PYTHONPATH XDG_DATA_HOME
(cd "$here" && tar -c --exclude=__pycache__ --exclude=.git README.md LICENSE Makefile pyproject.toml \
  constraints.txt man src) | (mkdir twinreel && tar -x -C twinreel)
log=$folder/transcript
: > "$log"
begun=$SECONDS load=$(cut -d' ' -f1 /proc/loadavg)

say() { # a command, as typed and as it answers
  local start=$SECONDS
  printf '$ %s\n' "$1" >> "$log"
  set +e
  eval "$1" > "$folder/out" 2>&1
  local code=$?
  set -e
  sed -e "s#$folder/home#/home/you#g; s#$folder#/home/you#g" "$folder/out" >> "$log"
  [ $code = 0 ] || printf '(exit code %s)\n' $code >> "$log"
  printf '# %s s\n\n' $((SECONDS - start)) >> "$log"
}

say 'cd twinreel'
say 'python3 -m venv .venv && . .venv/bin/activate'
say "${TORCH:-pip install torch --index-url https://download.pytorch.org/whl/cpu} --quiet --disable-pip-version-check"
say "pip install '.[web]' --quiet --disable-pip-version-check"
say 'du -sm .venv | cut -f1'
say 'twinreel doctor'
say 'cd && python -m twinreel.demo demo'
say 'twinreel dups demo'
say 'twinreel review --html found.html'
say 'twinreel act trash'
say 'twinreel act trash --yes'
say 'ls demo/copies'
say 'twinreel undo'
say 'ls demo/copies'
say 'twinreel models'
say 'twinreel extract demo -o features --model twin.v1'
say 'twinreel extract --status features'
say 'twinreel dups demo'

page=$here/docs/first-run.md
{
  echo '# First run'
  echo
  echo "The README followed in an empty folder with nothing but Python, by \`tools/first_run.sh\`."
  echo "$(date -u +%Y-%m-%d), $(nproc) cores, at a load of $load when it began and of"
  echo "$(cut -d' ' -f1 /proc/loadavg) at the end, $(python -V); $((SECONDS - begun)) s in all. Seconds stand below each command;"
  echo "\`dups\` steps back behind other programs, so it waits for all of them."
  if [ -n "${TORCH:-}" ]; then
    echo
    echo "PyTorch's own package index could not be reached from the machine of this run: the CPU build"
    echo "came from another one (\`$TORCH\`)."
  fi
  echo
  echo '```text'
  sed 's/ *$//' "$log"
  echo '```'
} > "$page"
echo "$page"
