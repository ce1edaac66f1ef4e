#!/usr/bin/env bash
# nft 1.0.6 refuses a timeout of 28 hours in milliseconds, and takes the same time in seconds.
#
# A program that writes elements with a time to live has it in one unit, and milliseconds are the finest that
# nft knows. Its reader of times takes numbers of eight digits at most, whatever the unit: 99999999ms (27 hours
# 46 minutes) is the longest, and one more is "value too large", though the kernel keeps times of years. The
# manual page of nft tells the units and no limit. A test with minutes or hours never sees it; in a firewall
# whose times follow a setting, all goes well until the setting passes a day. Written as seconds and
# milliseconds, "129600s0ms", any time goes.
#
# Needs apt-get of Debian 12, dpkg-deb and unshare. Fails if the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

apt-get download --quiet --quiet nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 \
  libnftnl11=1.2.4-2 libmnl0=1.0.4-3 libjansson4=2.14-2 libxtables12=1.8.9-2
for package in *.deb; do dpkg-deb --extract "$package" tree; done
libraries=$(dirname "$(find "$folder/tree" -name 'libnftables.so.1')")

cat > times.sh <<'SHELL'
nft() { LD_LIBRARY_PATH="$1" "$2/tree/usr/sbin/nft" "$3" 2>&1 | head -1; }
nft "$1" "$2" 'add table inet t; add set inet t s { type inet_service; flags timeout; }'
for time in 99999999ms 100000000ms 129600000ms 129600s0ms 99999999s; do
  echo "$time: $(nft "$1" "$2" "add element inet t s { 80 timeout $time }; flush set inet t s")"
done
SHELL
unshare --user --map-root-user --net bash times.sh "$libraries" "$folder" | tee told

grep -qx '99999999ms: ' told
grep -q '^100000000ms: Error: value too large' told
grep -q '^129600000ms: Error: value too large' told
grep -qx '129600s0ms: ' told
grep -qx '99999999s: ' told
