// SPDX-License-Identifier: Apache-2.0
// More programs of typed_cases(): objects of the kernel's that programs hold under another name, memory that was never
// written, what a kernel lets struct_ops programs write.
#pragma once

#include "kernel_types.hpp"

namespace anybpf::verifier::testing {

inline void map_structs(const auto& add) {
    using F = Finding;
    const std::string hash = "r1 = map[idx:0] ll\n", array = "r1 = map[idx:1] ll\n", done = "r0 = 0\nexit";
    const std::string meta = array + "r1 = *(u64 *)(r1 + {o:bpf_map.inner_map_meta})\n";
    const auto xdp = [&](std::string name, std::string text, F expected = F::none, bool gpl = true) {
        add({std::move(name), std::move(text), expected, "", gpl, false, abi::ProgType::xdp});
    };
    xdp("a map's capacity", array + "r1 = *(u32 *)(r1 + {o:bpf_map.max_entries})\n" + done);
    xdp("a map's capacity without a licence", array + "r1 = *(u32 *)(r1 + {o:bpf_map.max_entries})\n" + done, F::none,
        false);
    xdp("a map's capacity, signed", array + "r1 = *(s32 *)(r1 + {o:bpf_map.max_entries})\n" + done);
    xdp("a map's capacity, acquired", array + "r2 = load_acquire((u32 *)(r1 + {o:bpf_map.max_entries}))\n" + done);
    xdp("a map's capacity, bounded", array +
                                         "r2 = *(u32 *)(r1 + {o:bpf_map.max_entries})\nr2 &= 7\nr3 = map[idx:1][0]+0 "
                                         "ll\nr3 += r2\nr0 = *(u8 *)(r3 + "
                                         "0)\n" +
                                         done);
    xdp("what only hashes have", hash + "r1 = *(u32 *)(r1 + {o:bpf_htab.n_buckets})\n" + done);
    xdp("what only arrays have", array + "r1 = *(u32 *)(r1 + {o:bpf_array.elem_size})\n" + done);
    xdp("a ring buffer's memory",
        "r1 = map[idx:2] ll\nr1 = *(u64 *)(r1 + {o:bpf_ringbuf_map.rb})\nr1 = *(u64 *)(r1 + {o:bpf_ringbuf.mask})\n" +
            done);
    xdp("beyond a map's member", array + "r1 = *(u64 *)(r1 + {o:bpf_map.max_entries})\n" + done, F::typed_field);
    xdp("beyond a map's struct", "r1 = map[idx:2] ll\nr1 = *(u64 *)(r1 + 30000)\n" + done, F::typed_field);
    xdp("before a map's struct", array + "r1 = *(u64 *)(r1 - 8)\n" + done, F::typed_offset);
    xdp("a map's struct written", array + "*(u32 *)(r1 + {o:bpf_map.max_entries}) = 1\n" + done, F::not_memory);
    xdp("a map's struct counted up", array + "r2 = 1\nlock *(u32 *)(r1 + {o:bpf_map.max_entries}) += r2\n" + done,
        F::atomic_region);
    xdp("a map's pointer", meta + "r1 = *(u32 *)(r1 + {o:bpf_map.max_entries})\n" + done);
    xdp("a map's pointer without a licence", meta + "r1 = *(u32 *)(r1 + {o:bpf_map.max_entries})\n" + done,
        F::typed_gpl_only, false);
    xdp("a part of a map's pointer", array + "r1 = *(u32 *)(r1 + {o:bpf_map.inner_map_meta})\n" + done, F::typed_field);
    xdp("a map's pointer as a map", meta + "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\ncall map_lookup_elem\n" + done,
        F::wrong_argument);
    xdp("a map's pointer to anything",
        array + "r1 = *(u64 *)(r1 + {o:bpf_map.security})\nr1 = *(u64 *)(r1 + 8)\n" + done);
}

inline void cast_sockets(const auto& add) {
    using F = Finding;
    const std::string out = "out: r0 = 0\nexit", sk = "r1 = *(u64 *)(r1 + 168)\nif r1 == 0 goto out\n";
    const auto to = [](const char* what) { return std::string("call skc_to_") + what + "\n"; };
    const std::string there = "if r0 == 0 goto out\n";
    const auto tc = [&](std::string name, std::string text, F expected = F::none, bool gpl = true) {
        add({std::move(name), std::move(text), expected, "", gpl, false, abi::ProgType::sched_cls});
    };
    const std::string tcp = sk + to("tcp_sock") + there;
    tc("a cast socket", tcp + "r1 = *(u32 *)(r0 + {o:tcp_sock.snd_cwnd})\n" + out);
    tc("a cast socket, perhaps", sk + to("tcp_sock") + "r1 = *(u32 *)(r0 + {o:tcp_sock.snd_cwnd})\n" + out,
       F::maybe_null);
    tc("a cast socket without a licence", tcp + "r1 = *(u32 *)(r0 + {o:tcp_sock.snd_cwnd})\n" + out, F::typed_gpl_only,
       false);
    tc("beyond a cast socket's member", tcp + "r1 = *(u64 *)(r0 + {o:tcp_sock.snd_cwnd})\n" + out, F::typed_field);
    tc("beyond a cast socket", tcp + "r1 = *(u64 *)(r0 + 30000)\n" + out, F::typed_field);
    tc("a cast socket written", tcp + "*(u32 *)(r0 + {o:tcp_sock.snd_cwnd}) = 1\n" + out, F::read_only);
    tc("a cast socket by a constant", tcp + "r0 += {o:tcp_sock.snd_cwnd}\nr1 = *(u32 *)(r0 + 0)\n" + out);
    tc("a cast socket, before", tcp + "r0 += -8\nr1 = *(u32 *)(r0 + 0)\n" + out, F::typed_offset);
    tc("a cast socket's pointer",
       tcp + "r1 = *(u64 *)(r0 + {o:tcp_sock.highest_sack})\nr1 = *(u32 *)(r1 + {o:sk_buff.len})\n" + out);
    tc("another cast", sk + to("udp6_sock") + there + "r1 = *(u64 *)(r0 + {o:udp6_sock.inet6})\n" + out);
    tc("as large as what it was cast to", sk + to("tcp_timewait_sock") + there + "r1 = *(u32 *)(r0 + 2000)\n" + out,
       F::typed_field);
    // Two casts that meet: the one is not the other.
    tc("one of two casts",
       sk + "r6 = r1\nr7 = *(u32 *)(r1 + 4)\nif r7 == 2 goto wait\n" + to("tcp_sock") +
           "goto both\nwait: call skc_to_tcp_timewait_sock\nboth: " + there + "r1 = *(u32 *)(r0 + 2000)\n" + out,
       F::typed_field);
    const std::string held =
        "*(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = 0\nr2 = r10\nr2 += -16\nr3 = 12\nr4 = -1\nr5 = 0\n"
        "call skc_lookup_tcp\nif r0 == 0 goto out\nr6 = r0\nr1 = r6\n";
    const std::string release = "r1 = r6\ncall sk_release\n";
    tc("a held socket that was cast", held + to("tcp_sock") +
                                          "r7 = r0\nif r0 == 0 goto free\nr1 = *(u32 *)(r7 + "
                                          "{o:tcp_sock.snd_cwnd})\nfree: " +
                                          release + out);
    tc("a cast socket after its release",
       held + to("tcp_sock") + "r7 = r0\n" + release +
           "if r7 == 0 goto out\nr1 = *(u32 *)(r7 + {o:tcp_sock.snd_cwnd})\n" + out,
       F::not_a_pointer);
}

// Sockets that BTF describes from the start.
inline void typed_sockets(const auto& add) {
    using F = Finding;
    const std::string sk = "r1 = *(u64 *)(r1 + 8)\n", there = sk + "if r1 == 0 goto out\n", out = "out: r0 = 0\nexit";
    const auto tcp = [&](std::string name, std::string text, F expected = F::none) {
        add({std::move(name), std::move(text), expected, "bpf_iter_tcp"});
    };
    const std::string cast = "call skc_to_tcp_sock\n", read = "r1 = *(u32 *)(r0 + {o:tcp_sock.snd_cwnd})\n";
    tcp("an iterator's socket, cast", there + cast + "if r0 == 0 goto out\n" + read + out);
    tcp("an iterator's socket, cast and perhaps", there + cast + read + out, F::maybe_null);
    tcp("an iterator's socket, perhaps, cast", sk + cast + out, F::maybe_null);
    tcp("another object of an iterator's, cast", "r1 = *(u64 *)(r1 + 0)\n" + cast + out, F::typed_argument);
    tcp("an iterator's socket, moved and cast", there + "r1 += 8\n" + cast + out, F::typed_argument);
    tcp("a cast socket, cast again",
        there + cast + "if r0 == 0 goto out\nr1 = r0\n" + cast + "if r0 == 0 goto out\n" + read + out);
    add({"a tracepoint's socket, cast",
         "r1 = *(u64 *)(r1 + 24)\nif r1 == 0 goto out\n" + cast + "if r0 == 0 goto out\n" + read + out, F::none,
         "btf_trace_kfree_skb"});
}

inline void netfilter_objects(const auto& add) {
    using F = Finding;
    const std::string done = "r0 = 0\nexit", skb = "r1 = *(u64 *)(r1 + 8)\n", state = "r1 = *(u64 *)(r1 + 0)\n";
    const auto hook = [&](std::string name, std::string text, F expected = F::none) {
        add({std::move(name), std::move(text), expected, "", true, false, abi::ProgType::netfilter});
    };
    hook("netfilter's packet", skb + "r0 = *(u32 *)(r1 + {o:sk_buff.len})\n" + done);
    hook("netfilter's packet, beyond a member", skb + "r0 = *(u64 *)(r1 + {o:sk_buff.len})\n" + done, F::typed_field);
    hook("netfilter's packet, beyond it", skb + "r0 = *(u64 *)(r1 + 20000)\n" + done, F::typed_field);
    hook("netfilter's packet, written", skb + "*(u32 *)(r1 + {o:sk_buff.len}) = 0\n" + done, F::typed_write);
    hook("netfilter's state", state + "r0 = *(u8 *)(r1 + {o:nf_hook_state.hook})\n" + done);
    hook("netfilter's device",
         state + "r1 = *(u64 *)(r1 + {o:nf_hook_state.in})\nr0 = *(u32 *)(r1 + {o:net_device.ifindex})\n" + done,
         F::none);
    hook("netfilter's state, a part of the pointer", "r0 = *(u32 *)(r1 + 0)\n" + done, F::out_of_context);
    hook("netfilter's context written", "*(u64 *)(r1 + 8) = 0\n" + done, F::context_write);
    const std::string dynptr = skb + "r2 = 0\nr3 = r10\nr3 += -16\n" + kfunc("bpf_dynptr_from_skb");
    hook("netfilter's packet as a dynptr", dynptr + "r1 = r10\nr1 += -16\n" + kfunc("bpf_dynptr_size") + done);
    hook("netfilter's context as a packet", "r2 = 0\nr3 = r10\nr3 += -16\n" + kfunc("bpf_dynptr_from_skb") + done,
         F::kfunc_argument);
}

// Whoever may load such programs may also hand over what was never written.
inline void unwritten_memory(const auto& add) {
    using F = Finding;
    const std::string done = "r0 = 0\nexit\n", place = "r1 = r10\nr1 += -8\n";
    const auto xdp = [&](std::string name, std::string arguments, std::string text, F expected = F::none) {
        add({std::move(name), std::move(text), expected, "", true, false, abi::ProgType::xdp, std::move(arguments)});
    };
    xdp("a function of what was not written", "s", place + "call f\n" + done + "f: " + done);
    xdp("a function's memory was written", "s",
        place + "call f\nr2 = *(u64 *)(r10 - 8)\nr2 &= 7\nr3 = map[idx:1][0]+0 ll\nr3 += r2\nr0 = *(u8 *)(r3 + 0)\n" +
            done + "f: " + done);
    xdp("a function may write a number", "s",
        "*(u64 *)(r10 - 8) = 0\n" + place +
            "call f\nr2 = *(u64 *)(r10 - 8)\nr3 = map[idx:1][0]+0 ll\nr3 += r2\nr0 = *(u8 *)(r3 + 0)\n" + done +
            "f: " + done,
        F::pointer_offset);
    xdp("a function of an address", "s", "*(u64 *)(r10 - 8) = r1\n" + place + "call f\n" + done + "f: " + done);
    xdp("an address that a function had", "s",
        "*(u64 *)(r10 - 8) = r1\n" + place + "call f\nr1 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r1 + 0)\n" + done +
            "f: " + done,
        F::not_a_pointer);
    xdp("a function of constants", "s", "r1 = map[idx:5][0]+0 ll\ncall f\n" + done + "f: " + done, F::map_read_only);
    xdp("a function of what cannot be read", "s", "r1 = map[idx:6][0]+0 ll\ncall f\n" + done + "f: " + done,
        F::map_write_only);
    const std::string packet = "r2 = 0\nr3 = r10\nr3 += -16\n" + kfunc("bpf_dynptr_from_xdp");
    const auto slice = [&](const std::string& buffer) {
        return packet + "r1 = r10\nr1 += -16\nr2 = 0\n" + buffer + "r4 = 8\n" + kfunc("bpf_dynptr_slice");
    };
    xdp("a buffer that was not written", "", slice("r3 = r10\nr3 += -40\n") + done);
    xdp("a buffer with an address", "", "*(u64 *)(r10 - 40) = r10\n" + slice("r3 = r10\nr3 += -40\n") + done);
    xdp("a buffer beyond the stack", "", slice("r3 = r10\nr3 += -4\n") + done, F::out_of_stack);
    xdp("a buffer over a dynptr", "", slice("r3 = r10\nr3 += -16\n") + done, F::object_touched);
    xdp("a buffer of constants", "", slice("r3 = map[idx:5][0]+0 ll\n") + done, F::map_read_only);
    add({"a string from user space to what was not written",
         "r1 = r10\nr1 += -16\nr2 = 16\nr3 = 0\nr4 = 0\n" + kfunc("bpf_copy_from_user_str") + done, F::none,
         "bpf_iter_task", true, true});
}

// What bpf_snprintf() has of its data when the program is loaded: bits that are known.
inline void formatted(const auto& add) {
    using F = Finding;
    const std::string done = "r0 = 0\nexit";
    const auto print = [&](std::string name, const std::string& bytes, F expected = F::none) {
        add({std::move(name),
             "call get_prandom_u32\nr5 = r0\n" + bytes +
                 "r1 = r10\nr1 += -64\nr2 = 16\nr3 = map[idx:5][0]+0 ll\nr4 = r10\nr4 += -128\ncall snprintf\n" + done,
             expected, "", true, false, abi::ProgType::kprobe});
    };
    print("formatted: as many as asked for", "r5 = 8\n");
    print("formatted: too few", "r5 = 0\n", F::bad_format);
    print("formatted: one more", "r5 = 16\n");
    print("formatted: some more", "r5 &= 16\nr5 |= 8\n");
    print("formatted: one more, perhaps", "r5 &= 8\nr5 += 8\n", F::bad_format);
    print("formatted: a half", "r5 = 12\n", F::bad_format);
    print("formatted: less than one", "r5 = 7\n", F::bad_format);
    print("formatted: perhaps", "r5 &= 8\n", F::bad_format);
    add({"traced data of any length",
         "call get_prandom_u32\nr4 = r0\nr4 &= 31\nr1 = map[idx:5][0]+0 ll\nr2 = 8\nr3 = r10\nr3 += -32\ncall "
         "trace_vprintk\n" +
             done,
         F::none, "", true, false, abi::ProgType::kprobe});
}

// What was given back is a number, as much as an address may be one.
inline void given_back(const auto& add) {
    using F = Finding;
    const std::string got = "r1 = 1\n" + kfunc("bpf_task_from_pid") + "if r0 == 0 goto out\nr6 = r0\n";
    const std::string back = "*(u64 *)(r10 - 8) = r6\nr1 = r6\n" + kfunc("bpf_task_release"), out = "out: r0 = 0\nexit";
    add({"given back, looked at", got + back + "r7 = r6\nr7 += 1\nif r7 == 5 goto out\n" + out});
    add({"given back, loaded", got + back + "r7 = *(u64 *)(r10 - 8)\nr7 &= 7\n" + out});
    add({"given back, read", got + back + "r7 = *(u32 *)(r6 + 0)\n" + out, F::not_a_pointer});
    add({"given back, loaded and read", got + back + "r7 = *(u64 *)(r10 - 8)\nr7 = *(u32 *)(r7 + 0)\n" + out,
         F::not_a_pointer});
}

// A saved sum learns from comparisons of it, and it from comparisons of the saved one.
inline void saved_sums(const auto& add) {
    using F = Finding;
    const std::string sum = "call get_prandom_u32\nr6 = r0\nr7 = r0\nr7 += 1\n*(u64 *)(r10 - 8) = r7\n";
    const auto use = [](const std::string& index) {
        return "r3 = map[idx:1][0]+0 ll\n" + index + "r3 += r8\nr0 = *(u8 *)(r3 + 0)\nout: r0 = 0\nexit";
    };
    const auto xdp = [&](std::string name, std::string text, F expected = F::none) {
        add({std::move(name), std::move(text), expected, "", true, false, abi::ProgType::xdp});
    };
    xdp("a saved sum, compared before", sum + "if r7 > 63 goto out\n" + use("r8 = *(u64 *)(r10 - 8)\n"));
    xdp("a saved sum, compared too little", sum + "if r7 > 64 goto out\n" + use("r8 = *(u64 *)(r10 - 8)\n"),
        F::out_of_map_value);
    xdp("a saved sum, compared after", sum + "r8 = *(u64 *)(r10 - 8)\nif r8 > 63 goto out\n" + use("r8 = r7\n"));
    xdp("a saved sum, compared twice",
        sum + "if r7 > 100 goto out\nr8 = *(u64 *)(r10 - 8)\nif r8 > 63 goto out\n" + use("r8 = r7\n"));
    xdp("a counter in the stack",
        "call get_prandom_u32\n*(u64 *)(r10 - 8) = r0\nagain: r1 = *(u64 *)(r10 - 8)\nr1 += 1\n*(u64 *)(r10 - 8) = r1\n"
        "if r1 < 2 goto again\nr0 = 0\nexit");
    xdp("a counter in the stack that stands",
        "call get_prandom_u32\n*(u64 *)(r10 - 8) = r0\nagain: r1 = *(u64 *)(r10 - 8)\nr2 = r1\nr2 += 1\n"
        "if r2 < 2 goto again\nr0 = 0\nexit",
        F::infinite_loop);
}

inline void struct_ops_writes(const auto& add) {
    using F = Finding;
    const auto ops = [&](std::string name, std::string text, F expected = F::none,
                         std::string attach = "tcp_congestion_ops.ssthresh") {
        add({std::move(name), std::move(text), expected, std::move(attach), true, false, abi::ProgType::struct_ops});
    };
    const std::string done = "r0 = 0\nexit", sk = "r1 = *(u64 *)(r1 + 0)\n";
    ops("an operation", done);
    ops("an operation's socket", sk + "r0 = *(u32 *)(r1 + {o:tcp_sock.snd_cwnd})\nexit");
    ops("an operation's argument written", "*(u64 *)(r1 + 0) = 0\n" + done, F::context_write);
    for (const char* member : {"snd_cwnd", "snd_cwnd_cnt", "snd_cwnd_stamp", "snd_ssthresh", "app_limited"})
        ops(std::string("an operation writes ") + member,
            sk + "*(u32 *)(r1 + {o:tcp_sock." + member + "}) = 1\n" + done);
    ops("an operation writes its own", sk + "*(u64 *)(r1 + {o:inet_connection_sock.icsk_ca_priv}) = 1\n" + done);
    ops("an operation writes its own somewhere",
        sk + "*(u8 *)(r1 + {o:inet_connection_sock.icsk_ca_priv+103}) = 1\n" + done);
    ops("an operation writes beyond its own",
        sk + "*(u64 *)(r1 + {o:inet_connection_sock.icsk_ca_priv+100}) = 1\n" + done, F::typed_write);
    ops("an operation writes the pacing", sk + "*(u64 *)(r1 + {o:sock.sk_pacing_rate}) = 1\n" + done);
    ops("an operation writes a part", sk + "*(u8 *)(r1 + {o:tcp_sock.snd_cwnd}) = 1\n" + done);
    ops("an operation writes too much", sk + "*(u64 *)(r1 + {o:tcp_sock.snd_cwnd}) = 1\n" + done, F::typed_write);
    ops("an operation writes what is not its own", sk + "*(u32 *)(r1 + {o:tcp_sock.rcv_nxt}) = 1\n" + done,
        F::typed_write);
    ops("an operation counts", sk + "r2 = 1\nlock *(u32 *)(r1 + {o:tcp_sock.snd_cwnd}) += r2\n" + done);
    const std::string dummy = "bpf_dummy_ops.test_1", state = "r1 = *(u64 *)(r1 + 0)\nif r1 == 0 goto out\n";
    ops("another operation's state", state + "*(u32 *)(r1 + 0) = 1\nout: " + done, F::none, dummy);
    ops("a part of another operation's state", state + "*(u8 *)(r1 + 3) = 1\nout: " + done, F::none, dummy);
    ops("beyond another operation's state", state + "*(u32 *)(r1 + 1) = 1\nout: " + done, F::typed_write, dummy);
    ops("an operation writes an address", sk + "*(u64 *)(r1 + {o:inet_connection_sock.icsk_ca_priv}) = r10\n" + done);
}

inline void border_cases(const auto& add) {
    map_structs(add);
    cast_sockets(add);
    typed_sockets(add);
    netfilter_objects(add);
    unwritten_memory(add);
    formatted(add);
    given_back(add);
    saved_sums(add);
    struct_ops_writes(add);
}

}  // namespace anybpf::verifier::testing
