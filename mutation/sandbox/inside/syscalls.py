"""The system calls that a confined process may make, by machine. All others fail with ENOSYS.

The list has what a program needs to compute, tell the time, and write files in its own folder. Everything
else is impossible: to start a process or a thread, to signal, trace or inspect another process, to use
sockets, shared memory, mounts or namespaces, and whatever future kernels add.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple


class Machine(NamedTuple):
    """architecture: AUDIT_ARCH_*. calls: numbers by name, allowed with any arguments.

    The others are allowed only with certain arguments; see `confine`.
    """

    architecture: int
    calls: dict[str, int]
    ioctl: int
    fcntl: int
    kill: int
    tkill: int
    tgkill: int
    prlimit64: int
    recvmsg: int


def _numbers(text: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (word.partition("=") for word in text.split())}


# From asm/unistd_64.h and asm-generic/unistd.h of Linux.
MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        _numbers("""
        read=0 write=1 readv=19 writev=20 pread64=17 pwrite64=18 open=2 openat=257 close=3 close_range=436
        lseek=8 fstat=5 stat=4 lstat=6 newfstatat=262 statx=332 access=21 faccessat=269 faccessat2=439
        readlink=89 readlinkat=267 getcwd=79 chdir=80 fchdir=81 getdents64=217 statfs=137 fstatfs=138 mmap=9
        munmap=11 mremap=25 mprotect=10 brk=12 madvise=28 msync=26 rt_sigaction=13 rt_sigprocmask=14
        rt_sigreturn=15 rt_sigpending=127 rt_sigtimedwait=128 rt_sigsuspend=130 sigaltstack=131 pause=34
        alarm=37 getitimer=36 setitimer=38 restart_syscall=219 dup=32 dup2=33 dup3=292 pipe=22
        pipe2=293 poll=7 ppoll=271 select=23 pselect6=270 epoll_create1=291 epoll_ctl=233 epoll_wait=232
        epoll_pwait=281 eventfd2=290 clock_gettime=228 clock_getres=229 clock_nanosleep=230 nanosleep=35
        gettimeofday=96 time=201 times=100 getrusage=98 getpid=39 getppid=110 gettid=186 getuid=102
        geteuid=107 getgid=104 getegid=108 getresuid=118 getresgid=120 getpgrp=111 getpgid=121 getsid=124
        getgroups=115 uname=63 sysinfo=99 umask=95 getpriority=140 sched_yield=24 sched_getaffinity=204
        getcpu=309 futex=202 set_robust_list=273 get_robust_list=274 rseq=334 set_tid_address=218
        membarrier=324 arch_prctl=158 getrandom=318 exit=60 exit_group=231 getrlimit=97 setrlimit=160
        mkdir=83 mkdirat=258 rmdir=84 unlink=87 unlinkat=263 rename=82 renameat=264 renameat2=316 link=86
        linkat=265 symlink=88 symlinkat=266 ftruncate=77 truncate=76 fallocate=285 fsync=74 fdatasync=75
        sync_file_range=277 chmod=90 fchmod=91 fchmodat=268 utime=132 utimes=235 utimensat=280 futimesat=261
        flock=73 fadvise64=221 copy_file_range=326 sendfile=40
        """),
        ioctl=16, fcntl=72, kill=62, tkill=200, tgkill=234, prlimit64=302, recvmsg=47,
    ),
    "aarch64": Machine(
        0xC00000B7,
        _numbers("""
        read=63 write=64 readv=65 writev=66 pread64=67 pwrite64=68 openat=56 close=57 close_range=436
        lseek=62 fstat=80 newfstatat=79 statx=291 faccessat=48 faccessat2=439 readlinkat=78 getcwd=17
        chdir=49 fchdir=50 getdents64=61 statfs=43 fstatfs=44 mmap=222 munmap=215 mremap=216 mprotect=226
        brk=214 madvise=233 msync=227 rt_sigaction=134 rt_sigprocmask=135 rt_sigreturn=139 rt_sigpending=136
        rt_sigtimedwait=137 rt_sigsuspend=133 sigaltstack=132 getitimer=102 setitimer=103
        restart_syscall=128 dup=23 dup3=24 pipe2=59 ppoll=73 pselect6=72 epoll_create1=20
        epoll_ctl=21 epoll_pwait=22 eventfd2=19 clock_gettime=113 clock_getres=114 clock_nanosleep=115
        nanosleep=101 gettimeofday=169 times=153 getrusage=165 getpid=172 getppid=173 gettid=178 getuid=174
        geteuid=175 getgid=176 getegid=177 getresuid=148 getresgid=150 getpgid=155 getsid=156 getgroups=158
        uname=160 sysinfo=179 umask=166 getpriority=141 sched_yield=124 sched_getaffinity=123 getcpu=168
        futex=98 set_robust_list=99 get_robust_list=100 rseq=293 set_tid_address=96 membarrier=283
        getrandom=278 exit=93 exit_group=94 getrlimit=163 setrlimit=164 mkdirat=34 unlinkat=35 renameat=38
        renameat2=276 linkat=37 symlinkat=36 ftruncate=46 truncate=45 fallocate=47 fsync=82 fdatasync=83
        sync_file_range=84 fchmod=52 fchmodat=53 utimensat=88 flock=32 fadvise64=223 copy_file_range=285
        sendfile=71
        """),
        ioctl=29, fcntl=25, kill=129, tkill=130, tgkill=131, prlimit64=261, recvmsg=212,
    ),
}  # fmt: skip


def this_machine() -> Machine | None:
    """The table of the machine that this runs on; None if there is none."""
    known = sys.platform == "linux" and sys.maxsize > 1 << 32
    return MACHINES.get(os.uname().machine) if known else None
