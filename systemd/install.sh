#!/usr/bin/env bash
# Installs shipper, or what is new of it, from this source tree: an environment of its own in
# /opt/shipper, its unit, its user. Debian 12 and later, Ubuntu 24.04 and later, Amazon Linux 2023.
#
#   systemd/install.sh                      install or upgrade; as root
#   systemd/install.sh --offline WHEELHOUSE without a network; the wheels are made elsewhere, by
#                                           pip wheel --constraint constraints.txt --wheel-dir WHEELHOUSE '.[crt,manual]'
#   systemd/install.sh --no-start           leave starting to somebody else (an image bake)
#   systemd/install.sh --root DIRECTORY     into a tree that is not running (an image, a package)
#   systemd/install.sh --uninstall          remove all but configuration, journal and user; not
#                                           while logs are held that were deleted before they were sent
#
# May be repeated, also after it was interrupted: the new environment is finished beside the old
# one, and the two change places in one system call. Nothing that is configured is touched. Until it
# has come to its end once, the daemon is enabled and started if its configuration names a bucket. An
# upgrade restarts it if it runs; what is disabled or stopped stays so.
#
# PYTHON names the interpreter; else it is the system's python3, or python3.13 to python3.11, the first >= 3.11.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root='' wheelhouse='' action=install is_started=yes

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
say() { echo "install.sh: $*"; }
fail() { echo "install.sh: $1" >&2; exit "${2:-1}"; }

while [ $# -gt 0 ]; do
  case $1 in
    --offline) [ -d "${2:-}" ] || fail "--offline needs a directory of wheels" 64
               wheelhouse=$(cd "$2" && pwd); shift ;;
    --root)    [ -d "${2:-}" ] || fail "--root needs a directory that exists" 64
               root=$(cd "$2" && pwd); root=${root%/}; shift ;;
    --no-start)  is_started=no ;;
    --uninstall) action=uninstall ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 64 ;;
  esac
  shift
done

# A tree that is not the running system, a chroot, a container without systemd: files only.
has_systemd() { [ -z "$root" ] && [ -d /run/systemd/system ]; }
# Enabling is making a link, which works wherever systemctl is installed.
has_systemctl() { [ -z "$root" ] && command -v systemctl >/dev/null; }

# Where each file of the source tree goes. /usr/bin: sudo's path on Amazon Linux has no /usr/local/bin.
files() {
  cat <<'LIST'
644 systemd/shipper.service /usr/lib/systemd/system/shipper.service
644 systemd/shipper.sysusers.conf /usr/lib/sysusers.d/shipper.conf
644 systemd/shipper.tmpfiles.conf /usr/lib/tmpfiles.d/shipper.conf
755 systemd/as-shipper /usr/bin/as-shipper
755 systemd/ami/before-snapshot /usr/lib/shipper/before-snapshot
755 systemd/before-removal /usr/lib/shipper/before-removal
644 README.md /usr/share/doc/shipper/README.md
644 CHANGELOG.md /usr/share/doc/shipper/CHANGELOG.md
644 LICENSE /usr/share/doc/shipper/LICENSE
644 systemd/delete.conf /usr/share/doc/shipper/examples/delete.conf
644 systemd/home.conf /usr/share/doc/shipper/examples/home.conf
LIST
  local page
  for page in "$source"/docs/*.md "$source"/docs/schemas/*.json; do
    page=${page#"$source"/}
    echo "644 $page /usr/share/doc/shipper/$page"
  done
  for page in "$source"/systemd/monitoring/*; do
    page=${page##*/}
    echo "644 systemd/monitoring/$page /usr/share/doc/shipper/examples/monitoring/$page"
  done
}

# The environment goes on using the interpreter, so it must be the system's: none of a virtual environment, and none
# of a home directory, which the unit hides.
chosen_python() {
  local candidate path
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    path=$(PATH=/usr/bin:/usr/local/bin:/bin command -v "$candidate") || continue
    "$path" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    "$path" -c 'import os, sys; print(os.path.realpath(sys._base_executable))'
    return
  done
  fail "no Python >= 3.11 with venv: apt-get install python3-venv, or dnf install python3.11" 69
}

# An environment at $1 that says /opt/shipper everywhere, so that it may be moved there whole.
build_environment() {
  local new=$1 python=$2 scratch=$3 wanted packages
  "$python" -m venv "$scratch/pip"
  "$python" -m venv --without-pip "$new"
  packages=$("$new/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  local pip=("$scratch/pip/bin/python" -m pip --disable-pip-version-check --quiet install
             --no-compile --target "$packages" --constraint "$source/constraints.txt")
  wanted="${source}[crt]"
  if [ -n "$wheelhouse" ]; then
    wanted="s3-log-shipper[crt]==$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$source/shipper/__init__.py")"
    pip+=(--no-index --find-links "$wheelhouse")
  fi
  "${pip[@]}" "$wanted"
  rm -rf "${packages:?}/bin" "$packages"/s3_log_shipper-*.dist-info/direct_url.json "$new"/bin/[Aa]ctivate*
  sed -i '/^command = /d' "$new/pyvenv.cfg"
  printf '%s\n' '#!/opt/shipper/bin/python -sP' 'import sys' '' 'from shipper.cli.main import main' '' \
    'sys.exit(main())' > "$new/bin/shipper"
  chmod 755 "$new/bin/shipper"
  # Nobody can write there later. Unchecked: image bakers like to set every mtime to one value.
  "$new/bin/python" -m compileall -q -f -s "$new" -p /opt/shipper --invalidation-mode unchecked-hash "$packages"
  chmod -R go=rX,u+w "$new"
}

# What systemd/manual.py writes below /usr.
generated() {
  cat <<'LIST'
/usr/share/bash-completion/completions/shipper
/usr/share/zsh/vendor-completions/_shipper
/usr/share/zsh/site-functions/_shipper
/usr/share/fish/vendor_completions.d/shipper.fish
/usr/share/man/man1/shipper.1
LIST
}

# The schema for editors, by the environment at $1.
build_schema() {
  local to=$root/usr/share/shipper
  install -d -m 755 "$to"
  (umask 022 && PYTHONDONTWRITEBYTECODE=1 "$1/bin/python" -sP -m shipper config schema > "$to/shipper.schema.json")
}

# The manual and completions, by the environment at $1. What else they need is not installed, and
# nothing depends on them.
build_manual() {
  local new=$1 scratch=$2
  local pip=("$scratch/pip/bin/python" -m pip --disable-pip-version-check --quiet install
             --no-compile --target "$scratch/tools" --constraint "$source/constraints.txt")
  [ -z "$wheelhouse" ] || pip+=(--no-index --find-links "$wheelhouse")
  {
    "${pip[@]}" shtab argparse-manpage &&
      (umask 022 && PYTHONPATH="$scratch/tools" PYTHONDONTWRITEBYTECODE=1 \
        "$new/bin/python" "$source/systemd/manual.py" "$root/usr")
  } || say "no manual page and no completion: shtab and argparse-manpage are not to be had, or fail"
}

# renameat2(2) with RENAME_EXCHANGE: nobody finds either name missing. mv --exchange is too new.
exchange() {
  "$1" -c 'import ctypes, sys
call = getattr(ctypes.CDLL(None), "renameat2", None)
old, new = (name.encode() for name in sys.argv[1:])
sys.exit(call is None or call(-100, old, -100, new, 2) != 0)' "$2" "$3"
}

install_environment() {
  local python scratch
  python=$(chosen_python)
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch" "$root/opt/.shipper.new"' EXIT
  rm -rf "$root/opt/.shipper.new"
  install -d -m 755 "$root/opt"
  build_environment "$root/opt/.shipper.new" "$python" "$scratch"
  build_schema "$root/opt/.shipper.new"
  build_manual "$root/opt/.shipper.new" "$scratch"
  if [ ! -e "$root/opt/shipper" ]; then
    mv "$root/opt/.shipper.new" "$root/opt/shipper"
  elif ! exchange "$python" "$root/opt/.shipper.new" "$root/opt/shipper"; then
    say "this file system cannot exchange directories: /opt/shipper is missing for a moment"
    rm -rf "$root/opt/.shipper.old"
    mv "$root/opt/shipper" "$root/opt/.shipper.old"
    mv "$root/opt/.shipper.new" "$root/opt/shipper"
  fi
  rm -rf "$root"/opt/.shipper.{old,new} "$scratch"
  trap - EXIT
}

install_files() {
  local mode from to
  while read -r mode from to; do
    install -D -m "$mode" "$source/$from" "$root$to"
  done < <(files)
  ln -sfn /opt/shipper/bin/shipper "$root/usr/bin/shipper"
  install -d -m 755 "$root/etc/shipper" "$root/etc/shipper/conf.d"
  [ -e "$root/etc/shipper/shipper.toml" ] ||
    install -m 644 "$source/systemd/shipper.toml" "$root/etc/shipper/shipper.toml"
}

make_user() {
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers shipper.conf
  elif ! getent passwd shipper >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/shipper --no-create-home --shell /usr/sbin/nologin shipper
  fi
  install -d -m 700 -o shipper -g shipper /var/lib/shipper
  chown -R shipper:shipper /var/lib/shipper  # also a journal that root's `shipper ship` left
}

# 78 is a configuration that names no bucket, or is wrong; what else `check` finds may mend itself.
is_configured() {
  local code=0
  /opt/shipper/bin/shipper check --offline >/dev/null 2>&1 || code=$?
  [ "$code" -ne 78 ]
}

# Where SELinux is (Amazon Linux): as bin_t the program runs in the domain of all services without a policy.
label() {
  if [ -z "$root" ] && command -v restorecon >/dev/null; then
    restorecon -R /opt/shipper /usr/bin/shipper /usr/bin/as-shipper /usr/lib/systemd/system/shipper.service /etc/shipper
  fi
}

start() {
  has_systemd && systemctl daemon-reload
  if ! is_configured; then
    say "not started: name a bucket in /etc/shipper/shipper.toml (\`shipper init\` does), then: systemctl enable --now shipper"
  elif ! has_systemctl; then
    say "not started: there is no systemctl here"
  elif [ "$is_upgrade" = yes ]; then
    systemctl is-enabled --quiet shipper 2>/dev/null ||
      say "it was disabled and stays so: systemctl enable --now shipper"
    if [ "$is_started" = yes ] && has_systemd && systemctl is-active --quiet shipper; then
      systemctl restart shipper
      say "restarted"
    else
      say "upgraded; not restarted"
    fi
  else
    systemctl enable --quiet shipper
    if [ "$is_started" = no ] || ! has_systemd; then
      say "enabled; it starts when the system does"
    else
      systemctl restart shipper
      say "started"
    fi
  fi
}

uninstall() {
  local to before="$root/usr/lib/shipper/before-removal"
  if has_systemctl; then
    [ ! -x "$before" ] || "$before" || exit 1
    ! has_systemd || systemctl stop shipper 2>/dev/null || true
    systemctl disable --quiet shipper 2>/dev/null || true
  fi
  while read -r _ _ to; do rm -f "$root$to"; done < <(files)
  while read -r to; do rm -f "$root$to"; done < <(generated)
  rm -f "$root/usr/bin/shipper"
  rm -rf "$root/opt/shipper" "$root"/opt/.shipper.{new,old} "$root/usr/share/doc/shipper" "$root/usr/lib/shipper" "$root/usr/share/shipper"
  ! has_systemd || systemctl daemon-reload
  say "removed; kept: /etc/shipper, /var/lib/shipper (the journal of what was shipped), the user shipper"
}

[ "$(id -u)" = 0 ] || [ -n "$root" ] || fail "run it as root" 77
if [ -e "$root/var/lib/dpkg/info/shipper.list" ]; then
  fail "shipper is here as a Debian package: use apt, or apt-get remove shipper first"
fi
if [ "$action" = uninstall ]; then
  uninstall
  exit 0
fi
# What is disabled is an admin's wish only if nothing was left undone before: made last.
finished=$root/usr/lib/shipper/finished
is_upgrade=no
[ ! -e "$finished" ] || is_upgrade=yes
install_environment
install_files
if [ -n "$root" ]; then
  touch "$finished"
  say "installed into $root; its user is made by systemd-sysusers at the first boot"
  say "nothing enables its unit: systemctl --root=$root enable shipper"
  exit 0
fi
label
make_user
start
touch "$finished"
