// SPDX-License-Identifier: Apache-2.0
// The numbers and structures of bpf(2) and perf_event_open(2) as Linux 6.18 has them (include/uapi/linux/bpf.h and
// perf_event.h): our own copy, because a distribution's headers are older. Members keep the uapi's names. Each
// command's part of union bpf_attr is a struct here; `used` is where its last member ends, behind which all bytes must
// be zero.
#pragma once

#include <array>
#include <cstddef>

#include "anybpf/abi/types.hpp"

namespace anybpf::abi::uapi {

enum class Command : u32 {
    map_create = 0,
    map_lookup_elem = 1,
    map_update_elem = 2,
    map_delete_elem = 3,
    map_get_next_key = 4,
    prog_load = 5,
    obj_pin = 6,
    obj_get = 7,
    prog_attach = 8,
    prog_detach = 9,
    prog_test_run = 10,
    prog_get_next_id = 11,
    map_get_next_id = 12,
    prog_get_fd_by_id = 13,
    map_get_fd_by_id = 14,
    obj_get_info_by_fd = 15,
    prog_query = 16,
    raw_tracepoint_open = 17,
    btf_load = 18,
    btf_get_fd_by_id = 19,
    task_fd_query = 20,
    map_lookup_and_delete_elem = 21,
    map_freeze = 22,
    btf_get_next_id = 23,
    map_lookup_batch = 24,
    map_lookup_and_delete_batch = 25,
    map_update_batch = 26,
    map_delete_batch = 27,
    link_create = 28,
    link_update = 29,
    link_get_fd_by_id = 30,
    link_get_next_id = 31,
    enable_stats = 32,
    iter_create = 33,
    link_detach = 34,
    prog_bind_map = 35,
    token_create = 36,
    prog_stream_read_by_fd = 37,
};
constexpr u32 command_count = 38;

constexpr std::size_t attr_size = 168;  // sizeof(union bpf_attr)

struct MapCreate {
    u32 map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node;
    std::array<char, name_size> map_name;
    u32 map_ifindex, btf_fd, btf_key_type_id, btf_value_type_id, btf_vmlinux_value_type_id;
    u64 map_extra;
    i32 value_type_btf_obj_fd, map_token_fd;
    u64 excl_prog_hash;
    u32 excl_prog_hash_size;
    static constexpr u32 used = 92;
};
struct MapElement {
    u32 map_fd, pad;
    u64 key;
    u64 value;  // next_key of map_get_next_key
    u64 flags;
    static constexpr u32 used = 32, used_by_next_key = 24, used_by_delete = 16;
};
struct MapBatch {
    u64 in_batch, out_batch, keys, values;
    u32 count, map_fd;
    u64 elem_flags, flags;
    static constexpr u32 used = 56;
};
struct MapFreeze {
    u32 map_fd;
    static constexpr u32 used = 4;
};
struct ProgLoad {
    u32 prog_type, insn_cnt;
    u64 insns, license;
    u32 log_level, log_size;
    u64 log_buf;
    u32 kern_version, prog_flags;
    std::array<char, name_size> prog_name;
    u32 prog_ifindex, expected_attach_type, prog_btf_fd, func_info_rec_size;
    u64 func_info;
    u32 func_info_cnt, line_info_rec_size;
    u64 line_info;
    u32 line_info_cnt, attach_btf_id, attach_prog_fd, core_relo_cnt;
    u64 fd_array, core_relos;
    u32 core_relo_rec_size, log_true_size;
    i32 prog_token_fd;
    u32 fd_array_cnt;
    u64 signature;
    u32 signature_size;
    i32 keyring_id;
    static constexpr u32 used = 168;
};
struct Object {
    u64 pathname;
    u32 bpf_fd, file_flags;
    i32 path_fd;
    static constexpr u32 used = 20;
};
struct TestRun {
    u32 prog_fd, retval, data_size_in, data_size_out;
    u64 data_in, data_out;
    u32 repeat, duration, ctx_size_in, ctx_size_out;
    u64 ctx_in, ctx_out;
    u32 flags, cpu, batch_size;
    static constexpr u32 used = 76;
};
struct GetId {
    u32 id;  // start_id, prog_id, map_id, btf_id, link_id
    u32 next_id, open_flags;
    i32 fd_by_id_token_fd;
    static constexpr u32 used_by_next = 8, used_by_prog = 4, used_by_link = 4, used_by_map = 12, used_by_btf = 16;
};
struct GetInfo {
    u32 bpf_fd, info_len;
    u64 info;
    static constexpr u32 used = 16;
};
struct RawTracepointOpen {
    u64 name;
    u32 prog_fd, pad;
    u64 cookie;
    static constexpr u32 used = 24;
};
struct BtfLoad {
    u64 btf, btf_log_buf;
    u32 btf_size, btf_log_size, btf_log_level, btf_log_true_size, btf_flags;
    i32 btf_token_fd;
    static constexpr u32 used = 40;
};
struct TaskFdQuery {
    u32 pid, fd, flags, buf_len;
    u64 buf;
    u32 prog_id, fd_type;
    u64 probe_offset, probe_addr;
    static constexpr u32 used = 48;
};
struct LinkCreate {
    u32 prog_fd, target_fd, attach_type, flags;
    union {
        u64 perf_event_bpf_cookie;
        struct {
            u64 path, offsets, ref_ctr_offsets, cookies;
            u32 cnt, flags, pid;
        } uprobe_multi;
    };
    static constexpr u32 used = 60;
};
struct LinkUpdate {
    u32 link_fd, new_prog_fd, flags, old_prog_fd;
    static constexpr u32 used = 16;
};
struct LinkDetach {
    u32 link_fd;
    static constexpr u32 used = 4;
};
struct EnableStats {
    u32 type;
    static constexpr u32 used = 4;
};
struct IterCreate {
    u32 link_fd, flags;
    static constexpr u32 used = 8;
};
struct ProgBindMap {
    u32 prog_fd, map_fd, flags;
    static constexpr u32 used = 12;
};
struct TokenCreate {
    u32 flags, bpffs_fd;
    static constexpr u32 used = 8;
};
struct StreamRead {
    u64 stream_buf;
    u32 stream_buf_len, stream_id, prog_fd;
    static constexpr u32 used = 20;
};
static_assert(offsetof(MapCreate, excl_prog_hash_size) + 4 == MapCreate::used &&
              offsetof(ProgLoad, keyring_id) + 4 == ProgLoad::used);
static_assert(offsetof(ProgLoad, log_true_size) == 140 && offsetof(BtfLoad, btf_log_true_size) == 28);
static_assert(offsetof(LinkCreate, uprobe_multi.pid) + 4 == LinkCreate::used &&
              offsetof(TestRun, batch_size) + 4 == TestRun::used);
static_assert(sizeof(ProgLoad) == attr_size);

// map_flags, file_flags (uapi BPF_F_*) that types.hpp does not have.
constexpr u32 flag_numa_node = 1U << 2, flag_path_fd = 1U << 14, flag_vtype_btf_obj_fd = 1U << 15,
              flag_token_fd = 1U << 16;
constexpr u64 flag_lock = 4;     // of map operations
constexpr u32 flag_replace = 4;  // of link_update
constexpr u32 prog_strict_alignment = 1U << 0, prog_any_alignment = 1U << 1, prog_sleepable = 1U << 4,
              prog_flags = 0x1ff | flag_token_fd;  // what prog_load accepts at all
constexpr u32 test_run_on_cpu = 1;
constexpr u32 log_level1 = 1, log_level2 = 2, log_stats = 4, log_fixed = 8, log_mask = 15;
constexpr u32 max_used_maps = 64, max_btf_size = 16U << 20;

// enum bpf_link_type, bpf_perf_event_type and bpf_task_fd_type, as far as used.
constexpr u32 link_raw_tracepoint = 1, link_perf_event = 7;
constexpr u32 perf_kprobe = 3, perf_kretprobe = 4, perf_tracepoint = 5, perf_event = 6;
constexpr u32 fd_raw_tracepoint = 0, fd_tracepoint = 1, fd_kprobe = 2, fd_kretprobe = 3;

struct MapInfo {
    u32 type, id, key_size, value_size, max_entries, map_flags;
    std::array<char, name_size> name;
    u32 ifindex, btf_vmlinux_value_type_id;
    u64 netns_dev, netns_ino;
    u32 btf_id, btf_key_type_id, btf_value_type_id, btf_vmlinux_id;
    u64 map_extra, hash;
    u32 hash_size;
};
struct ProgInfo {
    u32 type, id;
    std::array<u8, 8> tag;
    u32 jited_prog_len, xlated_prog_len;
    u64 jited_prog_insns, xlated_prog_insns, load_time;
    u32 created_by_uid, nr_map_ids;
    u64 map_ids;
    std::array<char, name_size> name;
    u32 ifindex, gpl_compatible;
    u64 netns_dev, netns_ino;
    u32 nr_jited_ksyms, nr_jited_func_lens;
    u64 jited_ksyms, jited_func_lens;
    u32 btf_id, func_info_rec_size;
    u64 func_info;
    u32 nr_func_info, nr_line_info;
    u64 line_info, jited_line_info;
    u32 nr_jited_line_info, line_info_rec_size, jited_line_info_rec_size, nr_prog_tags;
    u64 prog_tags, run_time_ns, run_cnt, recursion_misses;
    u32 verified_insns, attach_btf_obj_id, attach_btf_id;
};
struct BtfInfo {
    u64 btf;
    u32 btf_size, id;
    u64 name;
    u32 name_len, kernel_btf;
};
struct LinkInfo {
    u32 type, id, prog_id, pad;
    union {
        struct {
            u64 tp_name;
            u32 tp_name_len, pad;
            u64 cookie;
        } raw_tracepoint;
        struct {
            u32 type, pad;
            u64 name;
            u32 name_len;
            u32 offset;                 // of kprobes
            u64 cookie_or_addr;         // a tracepoint's cookie; a kprobe's address
            u64 missed, kprobe_cookie;  // of kprobes
        } perf_event;
        std::array<u64, 6> all;
    };
};
static_assert(sizeof(MapInfo) == 104 && sizeof(ProgInfo) == 232 && sizeof(BtfInfo) == 32 && sizeof(LinkInfo) == 64);

struct PerfEventAttr {
    u32 type, size;
    u64 config, sample_period, sample_type, read_format;
    u64 bits;  // disabled, inherit, ...; perf_disabled below
    u32 wakeup_events, bp_type;
    u64 config1, config2, branch_sample_type, sample_regs_user;
    u32 sample_stack_user;
    i32 clockid;
    u64 sample_regs_intr;
    u32 aux_watermark;
    u16 sample_max_stack, reserved_2;
    u32 aux_sample_size, aux_action;
    u64 sig_data, config3;
};
static_assert(sizeof(PerfEventAttr) == 136);
constexpr u32 perf_attr_size_ver0 = 64;
constexpr u64 perf_disabled = 1, perf_reserved_bits = ~u64{0} << 38;
constexpr u32 perf_type_software = 1, perf_type_tracepoint = 2;
constexpr u64 perf_config_bpf_output = 10;
constexpr u64 perf_sample_max = 1ULL << 25, perf_format_max = 1ULL << 5;
constexpr unsigned long perf_flag_fd_no_group = 1, perf_flag_fd_output = 2, perf_flag_pid_cgroup = 4,
                        perf_flag_fd_cloexec = 8;

constexpr unsigned long perf_ioc_enable = 0x2400, perf_ioc_disable = 0x2401, perf_ioc_refresh = 0x2402,
                        perf_ioc_reset = 0x2403, perf_ioc_id = 0x80082407, perf_ioc_set_bpf = 0x40042408,
                        perf_ioc_query_bpf = 0xc008240a;

}  // namespace anybpf::abi::uapi
