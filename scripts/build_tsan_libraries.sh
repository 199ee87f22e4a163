#!/usr/bin/env bash
# Builds Abseil and gRPC for ThreadSanitizer, from the sources of the Debian packages that are installed, into the cache's tsan/lib.
# ThreadSanitizer sees no lock of a library that is not built for it, so it would take what the lock guards for a race. The files
# have the names of Debian's own: LD_LIBRARY_PATH puts them in their place. Does nothing where they are there; scripts/sanitize.sh calls it.
source "$(dirname "$0")/lib.sh"

packages=$(dpkg-query -W -f='${source:Package}=${source:Version}\n' libabsl-dev libgrpc++-dev)
stamp=$cache/tsan/.stamp
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$packages" ] && exit 0

say "building Abseil and gRPC for ThreadSanitizer (about 35 minutes on two cores, 10 MB to fetch, 1 GB on disk meanwhile)"
work=$cache/tsan/work
rm -rf "$cache/tsan"
mkdir -p "$cache/tsan/lib" "$work/sources" "$work/lists/partial" "$work/archives/partial"

# The system's package sources with their kind changed, in folders of our own: nothing of the system's changes.
shopt -s nullglob
for file in /etc/apt/sources.list.d/*.sources; do
  sed 's/^types:.*/Types: deb-src/i' "$file" > "$work/sources/$(basename "$file")"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -f "$file" ] && sed -n 's/^deb\(-src\)\?\([[:blank:]]\)/deb-src\2/p' "$file" > "$work/sources/$(basename "$file" .list).list"
done
apt_options=(-qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" -o Dir::State::Lists="$work/lists"
  -o Dir::Cache="$work" -o APT::Sandbox::User="$(id -un)")
apt-get "${apt_options[@]}" update
# Debian's patches come with the source, and are applied.
for package in $packages; do
  (cd "$work" && apt-get "${apt_options[@]}" source "$package" > "$work/apt.log" 2>&1) ||
    { cat "$work/apt.log" >&2; fail "apt-get could not fetch the source of $package"; }
done

flags="-O1 -g1 -fsanitize=thread -fno-omit-frame-pointer"
# configure LIBRARY OPTION...: no build type, as in Debian's own packages.
configure() {
  cmake -S "$work/$1"-*/ -B "$work/build-$1" -G Ninja -DCMAKE_BUILD_TYPE=None -DBUILD_SHARED_LIBS=ON -DCMAKE_CXX_STANDARD=17 \
    -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" "${@:2}" > "$work/cmake-$1.log" || fail "see $work/cmake-$1.log"
}
configure abseil
# Everything else of gRPC's is Debian's. Code generators are not built: the linked library of protoc's that CMake asks for is not used.
configure grpc -DgRPC_{ABSL,CARES,PROTOBUF,RE2,SSL,ZLIB,BENCHMARK}_PROVIDER=package -DgRPC_INSTALL=OFF -DgRPC_BUILD_CODEGEN=OFF \
  -DProtobuf_PROTOC_LIBRARY=/unused
ninja -C "$work/build-abseil"
ninja -C "$work/build-grpc" grpc++
find "$work"/build-* -name 'lib*.so*' -exec cp -P -t "$cache/tsan/lib" {} +
rm -rf "$work"
echo "$packages" > "$stamp"
