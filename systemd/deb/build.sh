#!/usr/bin/env bash
# Builds dist/shipper_VERSION_ARCHITECTURE.deb: the tree that install.sh makes, with a control file,
# packed by dpkg-deb. Debian's python3 stays on the machine, so the package is for the release it
# was built on (and any other with the same python3).
#
#   systemd/deb/build.sh [--offline WHEELHOUSE]      what install.sh does with it
#
# Not debhelper: it would have a debian/ at the top, and packs wheels no better. As root or not:
# dpkg-deb gives every file to root.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$source/systemd/deb
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$source/shipper/__init__.py")
architecture=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH          # the latest time that any file in the package may have

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
umask 022
PYTHON=/usr/bin/python3 "$source/systemd/install.sh" --root "$tree" "$@" >/dev/null

documents=$tree/usr/share/doc/shipper
# Debian has the Apache licence in /usr/share/common-licenses, and wants the changes compressed.
rm "$documents/LICENSE" "$documents/CHANGELOG.md"
install -m 644 "$here/copyright" "$documents/copyright"
gzip -9n < "$source/CHANGELOG.md" > "$documents/changelog.gz"
manual=$tree/usr/share/man/man1/shipper.1
[ ! -e "$manual" ] || gzip -9n "$manual"

python=$(basename "$tree"/opt/shipper/lib/python3.*)
minor=${python#python3.}
install -d -m 755 "$tree/DEBIAN"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$tree/DEBIAN/"
echo /etc/shipper/shipper.toml > "$tree/DEBIAN/conffiles"
(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) > "$tree/DEBIAN/md5sums"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" \
  -e "s/@PYTHON@/python3 (>= 3.$minor~), python3 (<< 3.$((minor + 1))~)/" \
  -e "s/@SIZE@/$(du -sk --apparent-size "$tree" | cut -f1)/" "$here/control.in" > "$tree/DEBIAN/control"

mkdir -p "$source/dist"
dpkg-deb --root-owner-group --build -Zzstd "$tree" "$source/dist/shipper_${version}_$architecture.deb"
