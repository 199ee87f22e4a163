#!/usr/bin/env bash
# Makes a certificate authority and a server certificate, for a private network without a CA of its own.
#   deploy/make_certificates.sh FOLDER NAME...    NAMEs: host names and addresses that clients will call the server by
# Afterwards: server.pem and server.key for the server, ca.pem for workers and clients; ca.key signs further ones.
# An existing CA in FOLDER is kept, so that running it again renews the server's certificate only.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,5s/^# \?//p' "$0" >&2; exit 2; }
command -v openssl >/dev/null || { echo "error: openssl not found" >&2; exit 1; }
folder=$1
shift
names=
for name in "$@"; do
  if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then names+=",IP:$name"; else names+=",DNS:$name"; fi
done
umask 077
mkdir -p "$folder"
cd "$folder"
if [ ! -f ca.key ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=Pactory CA" \
    -keyout ca.key -out ca.pem 2>/dev/null
fi
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout server.key -out server.csr 2>/dev/null
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -out server.pem \
  -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "${names#,}") 2>/dev/null
rm -f server.csr
chmod 644 ca.pem server.pem
echo "made server.pem for $* in $PWD; give ca.pem to workers and clients (--tls-ca)"
