#!/usr/bin/env bash
# Runs .tflite files with LiteRT's ARM64 kernels on an x86 Debian 12 machine, under qemu.
#
#   tools/arm64.sh setup                                   once: fetches an ARM64 Python and LiteRT
#   tools/arm64.sh check                                   exits 0 where it is set up, or says why not
#   tools/arm64.sh run MODEL.tflite INPUTS.npy OUTPUTS.npy outputs (N, ...) of inputs (N, ...)
#   tools/arm64.sh python ARGUMENT...                      the ARM64 Python itself
#
# It needs qemu-aarch64-static (Debian: qemu-user-static), and neither root nor a change to the
# machine: everything lies in ${TF_LCNN_ARM64:-${XDG_CACHE_HOME:-~/.cache}/tf_lcnn/arm64}.
# Results are those of an ARM64 machine; times mean nothing.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TF_LCNN_ARM64:-${XDG_CACHE_HOME:-$HOME/.cache}/tf_lcnn/arm64}
[[ $cache == /* ]] || cache=$PWD/$cache
ready=$cache/ready

# The Python for which the wheels are made, and the libraries that it and they link to.
packages=(
  python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
  libc6 libexpat1 libffi8 libgcc-s1 libstdc++6 zlib1g
)
# LiteRT 2.3.0 crashes under Debian 12's qemu.
wheels=(ai-edge-litert==2.1.0 numpy==2.2.6)
recipe="${packages[*]} ${wheels[*]}"

fail() {
  echo "arm64.sh: $*" >&2
  exit 1
}

usage() {
  fail "usage: tools/arm64.sh setup | check | run MODEL.tflite INPUTS.npy OUTPUTS.npy | python ARGUMENT..."
}

need_qemu() {
  command -v qemu-aarch64-static >/dev/null ||
    fail "qemu-aarch64-static is missing: apt-get install qemu-user-static"
}

is_ready() {
  [[ -f $ready/recipe && $(<"$ready/recipe") == "$recipe" ]]
}

check() {
  need_qemu
  is_ready || fail "not set up in $cache: run tools/arm64.sh setup"
}

# become_python FOLDER ARGUMENT...
become_python() {
  local root=$1/root
  # qemu would leave a core file in the working directory.
  ulimit -c 0
  # A variable each and not qemu's -E, which splits at commas. With exec, since a shell in between
  # would add its own lines about a crash.
  PYTHONHOME=$root/usr PYTHONPATH=$1/site PYTHONNOUSERSITE=1 \
    exec qemu-aarch64-static -cpu cortex-a76 -L "$root" "$root/usr/bin/python3.11" "${@:2}"
}

# step COMMAND...: its messages go to the log; of a failure, one line is shown.
step() {
  ("$@" >>"$log" 2>&1 </dev/null) ||
    fail "$1 failed ($(grep -v '^[[:space:]]*$' "$log" | tail -n 1 || true)), see $log"
}

setup() {
  need_qemu
  local tool
  for tool in apt-get dpkg-deb flock python3; do
    command -v "$tool" >/dev/null || fail "$tool is missing"
  done
  mkdir -p "$cache" 2>/dev/null || fail "cannot make $cache"

  # Two set-ups at once would share the folder of the unfinished one.
  exec 9>"$cache/lock"
  flock 9
  if is_ready; then
    return
  fi

  local partial=$cache/partial
  local log=$partial/log
  rm -rf "$partial"
  mkdir -p "$partial"/{debs,root,site,apt/state/lists/partial,apt/cache/archives/partial}
  touch "$partial/apt/status"

  # A state of its own lets apt fetch ARM64 packages with the machine's sources and keys, yet
  # without adding an architecture to the machine.
  local apt=(
    -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
    -o Acquire::Languages=none -o Dir::State="$partial/apt/state"
    -o Dir::State::status="$partial/apt/status" -o Dir::Cache="$partial/apt/cache"
  )
  step apt-get "${apt[@]}" update
  cd "$partial/debs"
  step apt-get "${apt[@]}" download "${packages[@]}"
  local deb
  for deb in *.deb; do
    step dpkg-deb -x "$deb" "$partial/root"
  done
  cd "$partial"
  # Almost half of what is unpacked: character sets and documents, which nothing here opens.
  rm -rf root/usr/lib/aarch64-linux-gnu/gconv root/usr/share

  # The host's Python may be another version: its byte code would be of no use.
  step python3 -m pip install --disable-pip-version-check --no-deps --no-compile \
    --target "$partial/site" --only-binary=:all: --python-version 3.11 \
    --implementation cp --abi cp311 --platform manylinux_2_27_aarch64 \
    --platform manylinux2014_aarch64 "${wheels[@]}"

  # Proves the set-up, and leaves byte code that halves the time of a start.
  unset PYTHONDONTWRITEBYTECODE
  step become_python "$partial" -c "from ai_edge_litert import interpreter"

  rm -rf debs apt log
  printf '%s\n' "$recipe" >recipe
  rm -rf "$ready"
  mv -T "$partial" "$ready"
}

case ${1:-} in
  setup)
    [[ $# == 1 ]] || usage
    setup
    ;;
  check)
    [[ $# == 1 ]] || usage
    check
    ;;
  run)
    [[ $# == 4 ]] || usage
    check
    status=0
    messages=$(become_python "$ready" "$tools/run_tflite.py" "${@:2}" 2>&1) || status=$?
    # Above 128 it died of a signal, without a word of its own.
    ((status <= 128)) || fail "$2: LiteRT crashed (signal $((status - 128))): is the file whole?"
    # LiteRT's remarks come before the reason.
    ((status == 0)) || fail "${messages##*$'\n'}"
    ;;
  python)
    check
    become_python "$ready" "${@:2}"
    ;;
  *)
    usage
    ;;
esac
