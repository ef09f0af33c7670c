#!/usr/bin/env python3
"""Make ascp logs: sessions of several hosts at the same time, sorted by time, seeded; as the real ones, in form.

    python scripts/make_ascp.py --lines 100000 [--hosts 8] [--seed 1] [--plain] > ascp.log

Each session starts, says what it is set to, says once a second where it is, transfers some files, and stops. Host and
process numbers are few, so they come back.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

#: 2018-10-10 13:00:00 UTC.
START = datetime(2018, 10, 10, 13, tzinfo=UTC)
_STATES = ("SINK_POST_COMPLETE_Q", "SINK_READ_Q", "SOURCE_NEW_Q")
#: Data lines are made of one of these: (members of ``bl``, of ``disk``, whether ``vlink`` is there).
VERSIONS = (("t/o/r/d", "l/h/b/w", False), ("t/o/r/d/ts", "l/h/b", True), ("t/o/r/d/ts", "l/h/b/w", True))



class Running:
    """A session that is running.

    Args:
        rng: what it is drawn from.
        began: when it starts.
    """

    def __init__(self, rng: random.Random, began: datetime) -> None:
        self.rng, self.began = rng, began
        digits = f"{rng.getrandbits(128):032x}"
        self.uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        self.is_sender = rng.random() < 0.5
        self.side = "Sender" if self.is_sender else "Receiver"
        self.target = rng.choice((80, 100, 300, 1000)) * 10**6
        self.bl, self.disk, self.has_vlink = rng.choice(VERSIONS)
        self.rtt = rng.randint(2, 200)
        self.bytes = self.blocks = self.rex = self.us = 0
        self.op = "send" if self.is_sender else "recv"

    def lines(self, seconds: int) -> Iterator[tuple[datetime, str]]:
        """Its lines, each with its time."""
        at = self.began
        yield at, f"LOG FASP Session Start uuid={self.uuid} op={self.op} status=started {self._who()}"
        yield at, f"LOG FASP Session Params {self._params()}"
        size = 0
        for number in range(seconds):
            at += timedelta(seconds=1, milliseconds=self.rng.randint(-5, 5))
            yield at, self.data()
            yield at, self.queues()
            if self.rng.random() < 0.1:
                state, ds_id = self.rng.choice(_STATES), self.rng.randint(1, 9)
                yield at, f"LOG State: ds_id {ds_id} {state} <-- (size {self.rng.randint(0, 3)} thresh 0)"
            if self.rng.random() < 0.2:
                size = self.rng.randint(1, 10**9)
                yield at, self.transfer("Start", "started", number, size)
            elif size:
                yield at, self.transfer("Stop", "success", number, size)
                size = 0
        at += timedelta(milliseconds=300)
        yield at, self.statistics()
        yield at, f"LOG FASP Session Stop uuid={self.uuid} op={self.op} status=success {self._who()}"
        yield at, f"LOG Source file transfers passed : {self.rng.randint(1, 9)}"

    def data(self) -> str:
        """Where it is."""
        rng = self.rng
        self.us += 1_000_000 + rng.randint(-200, 200)
        rate = int(self.target * rng.uniform(0.6, 1.0))
        self.bytes += rate // 8
        blocks = rate // 8 // 1452
        rex = int(blocks * rng.choice((0, 0, 0, 0.002, 0.01)))
        self.blocks, self.rex = self.blocks + blocks, self.rex + rex
        total, rtt = self.blocks, self.rtt
        bl = [total, total - self.rex, self.rex, 0, total + 9][:self.bl.count("/") + 1]
        disk = [0, 1, rng.randint(0, 3), self.bytes][:self.disk.count("/") + 1]
        rates = (self.target, 0, rate, rate, self.target, self.target, self.target)
        return " ".join((
            f"LOG {self.side} bl {self.bl}={_joined(bl)}",
            f"rex_rtt l/h/s/o=0/0/{rtt}/8 ooo_rtt l/h/s/o=0/0/{rtt}/8",
            f"rate_rtt b/l/h/s/r/f={rtt}/{rtt}/{rtt + rng.randint(0, 60)}/{rtt + rng.randint(0, 40)}/0/1",
            f"ctl bm/bs=0/0 rex n/s/q/v/a/r=0/{rex}/{rex // 8}/0/0/0",
            f"bl l/d/o/r/a/x/dl/df/dm/ds={self.rex}/0/0/0/0/{rng.randint(0, 2)}/0/0/0/0",
            f"disk {self.disk}={_joined(disk)}", *(["vlink lq/lo/rq/ro=0/0/0/0"] if self.has_vlink else []),
            f"rate t/m/c/n/vl/vr/r={_joined(rates)}",
            f"prog t/f/e={self.bytes}/{self.bytes}/{self.us} rcvD={rng.randint(0, 6)}"))

    def queues(self) -> str:
        """What waits in it."""
        if self.is_sender:
            waiting = "ds/re/a/d/ao/eo/n/ap/rq/rd/ru/cl/di/do=0/0/0/0/0/0/0/0/0/0/0/0/0/0 Rs o/i=1/1"
        else:
            waiting = f"ds/n/rq/ao/ap/rd/ru/no/po/pc/do={self.rng.randint(0, 3)}/0/0/0/0/0/1/0/0/0/0 Rs i/o=7/7"
        backlog = [f" 0/{self.rng.randint(0, 500)}/0" for _ in range(self.rng.randint(0, 2))]
        return f"LOG {self.side} DS Qs {waiting} mgmt backlog i/s/n ={''.join(backlog)}"

    def transfer(self, what: str, status: str, number: int, size: int) -> str:
        """One of its files."""
        rng = self.rng
        elapsed = f" elapsed={rng.randint(100, 9000) / 100}s" if what == "Stop" else ""
        return (f'LOG FASP Transfer {what} uuid={self.uuid} op={self.op} status={status} '
                f'file="/data/4x3/Some File-{number:03d}_PR_{rng.randint(10**8, 10**9)}.mp4" size={size} start_byte=0 '
                f'rate={rng.randint(1000, 99999) / 100}Mbps{elapsed} loss=0.00 rexreqs={rng.randint(0, 9)} '
                f'overhead=0 mtime="2018-10-09 18:00:{rng.randint(10, 59)}"')

    def statistics(self) -> str:
        """What it says about itself at its end."""
        rate = self.bytes * 8 / max(1, self.us)
        return (f"LOG FASP Session Statistics [{self.side}] id={self.uuid} delay={self.rtt}ms "
                f"rex_delay={self.rtt + 8}ms solicited_rex=0.01% unsolicited_rex=0.00% "
                f"ave_xmit_rate {rate:.2f}Mbps effective=99.99% effective_rate={rate:.2f}Mbps "
                f"(detail: good_blks {self.blocks} bl_total {self.blocks} "
                f"bl_orig {self.blocks - self.rex} bl_rex {self.rex} dup_last_blks 1) "
                "(sndr ctl: sent 1061 rcvd 1061 lost 0 lost 0.00%) (rcvr ctl: sent 9618 rcvd 9617 lost 1 lost 0.01%) "
                f"(progress: tx_bytes {self.bytes} file_bytes {self.bytes} tx_time {self.us}) "
                "(estimate transfer size: 0 bytes) sess->instru.num_rex_xfer_not_found 0")

    def _who(self) -> str:
        return (f'source=some dir/{self.uuid[:4]} (1) dest=/tmp source_prefix=- local=130.237.209.248:42132 '
                'peer=198.23.89.123:33001 tcp_port=22 os="Linux 3.7.10-1.45-desktop #1 SMP PREEMPT" '
                'ver=3.5.4.103990 lic=6:1:1 peeros="Linux 2.6.32-504.3.3.el6.x86_64 #1 SMP W" peerver=3.5.4.100392 '
                'peerlic=10:1:22001 proto_sess=20002 proto_udp=20000 proto_bwmeas=20000 proto_data=20008')

    def _params(self) -> str:
        return (f'uuid={self.uuid} userid=0 user="aspera" targetrate={self.target} minrate=0 rate_policy=fair '
                'cipher=none resume=0 create=0 ovr=1 times=0 precalc=yes mf=0 mf_path=- '
                'mf_suffix=.aspera-inprogress partial_file_suffix= files_encrypt=no files_decrypt=no file_csum=none '
                'dgram_sz=0 prepostcmd=- tcp_mode=no rtt_auto=yes cookie="-" vl_proto_ver=1  peer_vl_proto_ver=1 '
                'vl_local=0 vlink_remote=0 vl_sess_id=3840 srcbase=- rd_sz=0 wr_sz=0 cluster_num_nodes=1 '
                'cluster_node_id=0 range=0-0 keepalive=no test_login=no proxy_ip=- net_rc_alg=alg_delay '
                'exclude_older/newer_than=0/0')


def make_lines(seed: int = 0, *, hosts: int = 8, processes: int = 4, longest_s: int = 120, is_syslog: bool = True,
               began: datetime = START) -> Iterator[bytes]:
    """Yield lines for ever, with their newlines: of each host so many processes at a time.

    Args:
        seed: the same seed gives the same lines.
        hosts: how many.
        processes: how many run at the same time on each; each runs one session behind the other, under one number.
        longest_s: seconds of the longest session.
        is_syslog: with the prefix of syslog; else with the other one.
        began: when the first one starts.
    """
    streams = [_process(seed, host, number, longest_s, is_syslog, began)
               for host in range(hosts) for number in range(processes)]
    for _, line in heapq.merge(*streams, key=lambda pair: pair[0]):
        yield line


def _process(seed: int, host: int, number: int, longest_s: int, is_syslog: bool, began: datetime
             ) -> Iterator[tuple[datetime, bytes]]:
    rng = random.Random(f"{seed} {host} {number}")
    pid = 5000 + number
    at = began + timedelta(seconds=rng.randint(0, 9))
    while True:
        seconds = rng.randint(3, max(3, longest_s))
        for at, text in Running(rng, at).lines(seconds):  # noqa: B020 - it goes on from there
            if is_syslog:
                prefix = f"{at:%b} {at.day:2d} {at:%H:%M:%S} host-{host} ascp[{pid}]: "
            else:
                prefix = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} [{pid:04x}-{number:08x}] "
            yield at, f"{prefix}{text}\n".encode()
        at += timedelta(seconds=rng.randint(2, 30))


def _joined(numbers: list[int] | tuple[int, ...]) -> str:
    return "/".join(map(str, numbers))


def main() -> int:
    """Write lines to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000, help="about 300 bytes each; default: %(default)s")
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="with the prefix that has a date")
    options = parser.parse_args()
    lines = make_lines(options.seed, hosts=options.hosts, is_syslog=not options.plain)
    sys.stdout.buffer.writelines(islice(lines, options.lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
