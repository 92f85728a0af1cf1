#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# load.sh FOLDER TESTS: the mixed load, until FOLDER/stop is there. Whatever does not end as it must says so in FOLDER/failures.
# Processes that live long leave their pid in FOLDER/pids ("KIND PID"). Traffic stays on the loopback.
cd "$1" || exit 1
tests=$2 stop=$1/stop

failed() { echo "$*" >> failures; }
long() {  # KIND COMMAND...: lives until the end
    kind=$1; shift
    ( "$@" > "$kind.log" 2>&1 & pid=$!; echo "$kind $pid" >> pids; wait $pid; status=$?
      [ $status = 0 ] || failed "$kind: exit status $status: $(tail -c 500 "$kind.log")" ) &
}
again() {  # KIND COMMAND...: over and over
    kind=$1; shift
    ( rounds=0; while [ ! -e "$stop" ]; do
          "$@" > "$kind.log" 2>&1; status=$?
          [ $status = 0 ] || failed "$kind: exit status $status: $(tail -c 500 "$kind.log")"
          rounds=$((rounds + 1)); echo $rounds > "$kind.rounds"
      done ) &
}

build() {
    make -s -C project -j2 clean && make -s -C project -j2 && [ "$(project/prog)" = 21 ]
}
requests() {
    wrk -t1 -c8 -d1s "http://127.0.0.1:$port/file" > wrk.out || return 1
    ! grep -E 'Socket errors|Non-2xx' wrk.out && grep -q 'requests in' wrk.out && sleep 1
}
short() {
    ./meter "$stop" report 1000 1 500 && sleep 0.1
}
scripts() {
    [ "$(printf '%s\n' c a b | sort | tr -d '\n' | /usr/bin/perl -pe 's/b/B/')" = aBc ] && sleep 0.2
}

port=$(cat port)
long meter ./meter "$stop" report 1 8 0
long python /usr/bin/python3 "$tests/server.py" "$stop" report 100
[ -z "$(command -v node)" ] || long node node "$tests/server.js" "$stop"
again build build
again short short
again scripts scripts
if [ -n "$port" ]; then
    nginx -p "$1" -c "$1/nginx.conf" > nginx.log 2>&1 & nginx=$!
    echo "nginx $nginx" >> pids
    for try in 1 2 3 4 5 6 7 8 9 10; do [ -s nginx.pid ] && break; sleep 0.5; done
    for worker in $(cat "/proc/$nginx/task/$nginx/children"); do echo "nginx $worker" >> pids; done
    again requests requests
fi
while [ ! -e "$stop" ]; do sleep 0.2; done
[ -z "$port" ] || { sleep 2; kill -QUIT "$nginx"; wait "$nginx" || failed "nginx: exit status $?"; }
wait
