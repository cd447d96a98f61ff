#!/bin/sh
# fusednorm with a Java of its own; a GPU needs nothing but its NVIDIA driver. --help tells the rest.
#   FUSEDNORM_JAVA_OPTS  further options for the JVM, separated by blanks
#   TMPDIR               where native libraries are unpacked, /tmp if unset; not mounted noexec
# Uses nothing but the shell.
set -eu

case $0 in
  */*) home=${0%/*} ;;
  *) home=. ;;
esac
home=$(cd "$home" && pwd -P)
[ -x "$home/java/bin/java" ] || {
  echo "fusednorm: $home holds no java: start the script where the bundle was unpacked" >&2
  exit 2
}

# Shared libraries that every Linux but the smallest has: those of the host come first, since others
# in this process may need newer ones than were packed.
for library in "$home"/system/*; do
  [ -e "$library" ] || continue
  name=${library##*/}
  for folder in /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib64 /usr/lib64 /lib /usr/lib; do
    [ ! -e "$folder/$name" ] || continue 2
  done
  export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$home/system"
  break
done

run_java() {
  # shellcheck disable=SC2086 # split at blanks, as announced above
  exec "$home/java/bin/java" --enable-native-access=ALL-UNNAMED -XX:-UsePerfData \
    -Djava.awt.headless=true -Djava.io.tmpdir="${TMPDIR:-/tmp}" \
    -cp "$home/lib/*" ${FUSEDNORM_JAVA_OPTS:-} "$@"
}

usage() {
  echo "Usage: run COMMAND [OPTIONS]
  info      what can compute here; for what is missing the cause and the cure
  verify    every operation of every backend against the reference
  train     the experiments of the paper, with a report
  bench     time, GB/s and fraction of a copy's speed
  plan      which CUDA kernels a shape runs, with predicted bytes and time
  test      the tests of the CUDA engine on this machine's GPU; options of JUnit's console launcher
            replace the choice of tests, such as: test --select-package=org.fusednorm.cpu
  jmh       the JMH benchmarks: run jmh -l lists them
  class     a main class of the bundle, such as: class org.fusednorm.cuda.GpuNorm
  version   version and commit of the bundle
Each of the first five takes --help."
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
  info | verify | train | bench | plan)
    run_java -XX:+UseSerialGC org.fusednorm.cli.Main "$command" "$@"
    ;;
  test)
    case " $* " in
      *" --select-"* | *" --scan-"*) ;;
      *) set -- --select-package=org.fusednorm.cuda --select-class=org.fusednorm.ConventionsTest \
        --select-class=org.fusednorm.NormContractTest --select-class=org.fusednorm.RecordingTest \
        --select-class=org.fusednorm.MemorySafetyTest --select-class=org.fusednorm.TensorTest \
        --select-package=org.fusednorm.nn "$@" ;;
    esac
    run_java -Dfusednorm.test.cuda=device -Dfusednorm.require=cuda \
      org.junit.platform.console.ConsoleLauncher execute --disable-banner \
      --disable-ansi-colors --details=summary --fail-if-no-tests "$@"
    ;;
  jmh)
    run_java org.openjdk.jmh.Main "$@"
    ;;
  class)
    [ $# -gt 0 ] || {
      echo "fusednorm: class needs the name of a class" >&2
      exit 2
    }
    run_java "$@"
    ;;
  version)
    while read -r line; do echo "fusednorm $line"; done <"$home/version"
    ;;
  --help | -h | help)
    usage
    ;;
  *)
    [ -z "$command" ] || echo "fusednorm: there is no command '$command'" >&2
    usage >&2
    exit 2
    ;;
esac
