// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// For preload's tests: every way of attaching that hooks serve, every map that events leave by, and global data.
#define __VMLINUX_H__  // bpf_tracing.h then takes the kernel's names of the registers, which CO-RE finds in our BTF
#include <linux/types.h>
struct pt_regs {
    unsigned long di, si, dx, r10, r8, r9, ax, orig_ax, ip, sp, bp, cx;
} __attribute__((preserve_access_index));
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct event {
    __u32 what, pid;
    __u64 value;
    char name[16];
};

struct sys_enter_openat {
    __u64 common;
    int number;
    int pad;
    long dfd;
    const char *filename;
    long flags, mode;
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 65536);
} ring SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(key_size, 4);
    __uint(value_size, 4);
} buffers SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 128);
    __type(key, __u32);
    __type(value, __u64);
} calls SEC(".maps");

const volatile __u32 only_number SEC(".rodata.number") = 0;
__u64 from_data = 5;
struct {
    __u64 exits;
    __u32 kernel_version;
} seen;
extern int LINUX_KERNEL_VERSION __kconfig;

static int send(__u32 what, __u64 value, const char *name)
{
    struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);

    if (!event)
        return 0;
    event->what = what;
    event->pid = bpf_get_current_pid_tgid() >> 32;
    event->value = value;
    event->name[0] = 0;
    if (name)
        bpf_probe_read_user_str(event->name, sizeof(event->name), name);
    bpf_ringbuf_submit(event, 0);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_openat")
int at_openat(struct sys_enter_openat *ctx)
{
    return send(1, ctx->flags, ctx->filename);
}

SEC("raw_tracepoint/sys_exit")
int at_exit(struct bpf_raw_tracepoint_args *ctx)
{
    seen.kernel_version = LINUX_KERNEL_VERSION;
    __sync_fetch_and_add(&seen.exits, from_data);
    return 0;
}

SEC("raw_tp/sys_enter")
int at_enter(struct bpf_raw_tracepoint_args *ctx)
{
    __u32 number = ctx->args[1];
    __u64 one = 1;

    if (number != only_number)
        return 0;
    __u64 *count = bpf_map_lookup_elem(&calls, &number);

    if (count)
        __sync_fetch_and_add(count, 1);
    else
        bpf_map_update_elem(&calls, &number, &one, BPF_ANY);
    return 0;
}

SEC("ksyscall/close")
int BPF_KSYSCALL(on_close, int fd)
{
    bpf_printk("close of %d", fd);
    return send(2, fd, 0);
}

SEC("kretsyscall/openat")
int BPF_KRETPROBE(openat_returned, long result)
{
    return send(3, result, 0);
}

SEC("kprobe/__x64_sys_getppid")
int on_getppid(struct pt_regs *ctx)
{
    struct event event = {.what = 4, .pid = bpf_get_current_pid_tgid() >> 32, .value = bpf_get_func_ip(ctx)};

    bpf_perf_event_output(ctx, &buffers, BPF_F_CURRENT_CPU, &event, sizeof(event));
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
