// SPDX-License-Identifier: Apache-2.0
#include "object_programs.hpp"

namespace anybpf::verifier::testing {
namespace {

using F = Finding;
using P = abi::ProgType;
using A = abi::AttachType;

const std::string end = "\nout: r0 = 0\nexit\n";
const std::string key = "*(u64 *)(r10 - 8) = 0\nr2 = r10\nr2 += -8\n";
std::string lookup(const std::string& map) { return key + "r1 = @" + map + "\ncall map_lookup_elem\n"; }
std::string found(const std::string& map) { return lookup(map) + "if r0 == 0 goto out\n"; }
const std::string reserve = "r1 = @ring\nr2 = 16\nr3 = 0\ncall ringbuf_reserve\n";

void add_maps(const auto& add) {
    for (const char* outer : {"array_of_maps", "hash_of_maps"}) {
        const std::string inner = found(outer) + "r1 = r0\n" + key + "call map_lookup_elem\n";
        add("inner map, value found", inner + "if r0 == 0 goto out\nr1 = *(u64 *)(r0 + 0)\n" + end);
        add("inner map, value not compared", inner + "r1 = *(u64 *)(r0 + 0)\n" + end, F::maybe_null);
        add("inner map, beyond the value", inner + "if r0 == 0 goto out\nr1 = *(u64 *)(r0 + 16)\n" + end,
            F::out_of_map_value);
        add("inner map not compared", lookup(outer) + "r1 = r0\n" + key + "call map_lookup_elem\n" + end,
            F::wrong_argument);
        add("inner map stored to", found(outer) + "*(u32 *)(r0 + 0) = 1\n" + end, F::not_memory);
        add("inner map updated", found(outer) + "r1 = r0\n" + key +
                                     "r3 = r2\nr3 += -8\n*(u64 *)(r3 + 0) = 0\n"
                                     "*(u64 *)(r3 + 8) = 0\nr4 = 0\ncall map_update_elem\n" +
                                     end);
        add("inner map moved", found(outer) + "r0 += 8\n" + end, F::pointer_arithmetic);
        add("inner map by zero", found(outer) + "r0 += 0\n" + end);
    }
    add("maps of maps are not updated", key + "r3 = r2\nr1 = @array_of_maps\nr4 = 0\ncall map_update_elem\n" + end,
        F::wrong_map_type);
    add("maps of maps are not deleted from", key + "r1 = @hash_of_maps\ncall map_delete_elem\n" + end,
        F::wrong_map_type);
    add("devmap lookup", found("devices") + "r1 = *(u32 *)(r0 + 0)\n" + end, F::none, P::xdp);
    add("devmap value written", found("devices") + "*(u32 *)(r0 + 0) = 0\n" + end, F::map_read_only, P::xdp);
    add("xskmap lookup", found("xsks") + "r1 = *(u32 *)(r0 + 0)\n" + end, F::none, P::xdp);
    add("xskmap lookup not compared", lookup("xsks") + "r1 = *(u32 *)(r0 + 0)\n" + end, F::maybe_null, P::xdp);
    add("xdp_sock, no such field", found("xsks") + "r1 = *(u32 *)(r0 + 4)\n" + end, F::socket_field, P::xdp);
    for (const char* map : {"socks", "socks_hash"}) {
        add("sockmap lookup leaks", lookup(map) + end, F::reference_leak);
        add("sockmap lookup released", found(map) + "r1 = r0\ncall sk_release\n" + end);
        add("sockmap lookup read", found(map) + "r6 = *(u32 *)(r0 + 4)\nr1 = r0\ncall sk_release\n" + end);
        add("sockmap update without a socket", key + "r3 = r2\nr1 = @" + map + "\nr4 = 0\ncall map_update_elem\n" + end,
            F::wrong_argument);
        add("sockmap update", found(map) + "r6 = r0\nr3 = r0\n" + key + "r1 = @" + map +
                                  "\nr4 = 0\ncall map_update_elem\nr1 = r6\ncall sk_release\n" + end);
        add("sockmap update from sk_msg",
            "r3 = *(u64 *)(r1 + 72)\n" + key + "r1 = @" + map + "\nr4 = 0\ncall map_update_elem\n" + end,
            F::wrong_map_type, P::sk_msg);
        add("sockmap delete", key + "r1 = @" + map + "\ncall map_delete_elem\n" + end);
        add("sockmap delete from sock_ops", key + "r1 = @" + map + "\ncall map_delete_elem\n" + end, F::none,
            P::sock_ops);
        add("sockmap delete from sk_skb", key + "r1 = @" + map + "\ncall map_delete_elem\n" + end, F::wrong_map_type,
            P::sk_skb);
    }
    add("a per-CPU value", key +
                               "r1 = @percpu_hash\nr3 = 0\ncall map_lookup_percpu_elem\nif r0 == 0 goto out\n"
                               "r1 = *(u64 *)(r0 + 0)\n" +
                               end);
    add("a per-CPU value of a plain map", key + "r1 = @hash\nr3 = 0\ncall map_lookup_percpu_elem\n" + end,
        F::wrong_map_type);
    const std::string value = "r3 = r10\nr3 += -16\n*(u64 *)(r3 + 0) = 0\n";
    const std::string value_2 = "r2 = r10\nr2 += -16\n*(u64 *)(r2 + 0) = 0\n";
    for (const char* map : {"queue", "stack"}) {
        add("push", value_2 + "r1 = @" + map + "\nr3 = 0\ncall map_push_elem\n" + end);
        add("pop",
            "r2 = r10\nr2 += -16\nr1 = @" + std::string(map) + "\ncall map_pop_elem\nr1 = *(u64 *)(r10 - 16)\n" + end);
        add("peek", "r2 = r10\nr2 += -16\nr1 = @" + std::string(map) + "\ncall map_peek_elem\n" + end);
        add("lookup in a queue", lookup(map) + end, F::wrong_map_type);
    }
    add("bloom filter asked", value_2 + "r1 = @bloom\ncall map_peek_elem\n" + end);
    add("bloom filter popped", value_2 + "r1 = @bloom\ncall map_pop_elem\n" + end, F::wrong_map_type);

    const std::string storage = "r1 = @cgroup_storage\nr2 = 0\ncall get_local_storage\n";
    add("cgroup storage", storage + "r1 = *(u64 *)(r0 + 0)\n" + end, F::none, P::cgroup_skb);
    add("cgroup storage, beyond", storage + "r1 = *(u64 *)(r0 + 8)\n" + end, F::out_of_map_value, P::cgroup_skb);
    add("cgroup storage with flags", "r1 = @cgroup_storage\nr2 = 1\ncall get_local_storage\n" + end, F::storage_flags,
        P::cgroup_skb);
    add("cgroup storage in a tc program", storage + end, F::helper_program_type);
    add("local storage of another map", "r1 = @hash\nr2 = 0\ncall get_local_storage\n" + end, F::wrong_map_type,
        P::cgroup_skb);
    add("two storages of two kinds", storage + "r1 = @cgroup_percpu\nr2 = 0\ncall get_local_storage\n" + end, F::none,
        P::cgroup_skb);
    add("two storages of one kind", storage + "r1 = @second_storage\nr2 = 0\ncall get_local_storage\n" + end,
        F::second_storage, P::cgroup_skb);
    add("lookup in cgroup storage", lookup("cgroup_storage") + end, F::wrong_map_type, P::cgroup_skb);

    const std::string sk = "r6 = r1\nr2 = *(u64 *)(r1 + 168)\nif r2 == 0 goto out\n";
    const std::string full = sk + "r1 = r2\ncall sk_fullsock\nif r0 == 0 goto out\nr2 = r0\n";
    add("socket storage", full +
                              "r1 = @sk_storage\nr3 = 0\nr4 = 1\ncall sk_storage_get\nif r0 == 0 goto out\n"
                              "*(u32 *)(r0 + 0) = 1\n" +
                              end);
    add("socket storage with a first value", full +
                                                 "r1 = @sk_storage\nr3 = r10\nr3 += -8\n*(u64 *)(r3 + 0) = 7\n"
                                                 "r4 = 1\ncall sk_storage_get\n" +
                                                 end);
    add("socket storage not compared",
        full +
            "r1 = @sk_storage\nr3 = 0\nr4 = 1\ncall sk_storage_get\n"
            "*(u32 *)(r0 + 0) = 1\n" +
            end,
        F::maybe_null);
    add("socket storage of a nullable socket",
        "r2 = *(u64 *)(r1 + 168)\nr1 = @sk_storage\nr3 = 0\nr4 = 1\ncall sk_storage_get\n" + end, F::maybe_null);
    add("socket storage of a number", "r2 = 5\nr1 = @sk_storage\nr3 = 0\nr4 = 1\ncall sk_storage_get\n" + end,
        F::wrong_argument);
    add("socket storage deleted", full + "r1 = @sk_storage\ncall sk_storage_delete\n" + end);
    add("socket storage of a cgroup's new socket",
        "r2 = r1\nr1 = @sk_storage\nr3 = 0\nr4 = 1\ncall sk_storage_get\n" + end, F::none, P::cgroup_sock,
        A::cgroup_inet_sock_create);
    add("task storage",
        "call get_current_task_btf\nr2 = r0\nr1 = @task_storage\nr3 = 0\nr4 = 1\n"
        "call task_storage_get\nif r0 == 0 goto out\nr1 = *(u32 *)(r0 + 0)\n" +
            end);
    add("task storage of the context", "r2 = r1\nr1 = @task_storage\nr3 = 0\nr4 = 1\ncall task_storage_get\n" + end,
        F::wrong_argument);
    add("task storage in another map",
        "call get_current_task_btf\nr2 = r0\nr1 = @sk_storage\nr3 = 0\nr4 = 1\ncall task_storage_get\n" + end,
        F::wrong_map_type);
    add("task storage deleted",
        "call get_current_task_btf\nr2 = r0\nr1 = @task_storage\ncall task_storage_delete\n" + end);
    for (const auto& [map, helper] : {std::pair("devices", "redirect_map"), std::pair("cpus", "redirect_map"),
                                      std::pair("xsks", "redirect_map"), std::pair("devices_hash", "redirect_map")})
        add("redirected by a map", fmt::format("r1 = @{}\nr2 = 0\nr3 = 0\ncall {}\n", map, helper) + end, F::none,
            P::xdp);
    add("redirected by a hash", "r1 = @hash\nr2 = 0\nr3 = 0\ncall redirect_map\n" + end, F::wrong_map_type, P::xdp);
    add("reuseport", key + "r3 = r2\nr2 = @ports\nr4 = 0\ncall sk_select_reuseport\n" + end, F::none, P::sk_reuseport);
    add("reuseport by sockmap", key + "r3 = r2\nr2 = @socks\nr4 = 0\ncall sk_select_reuseport\n" + end, F::none,
        P::sk_reuseport);
    add("reuseport by hash", key + "r3 = r2\nr2 = @hash\nr4 = 0\ncall sk_select_reuseport\n" + end, F::wrong_map_type,
        P::sk_reuseport);
}

// A lookup of a TCP socket by the 12 bytes at fp-16; `helper` gives it.
std::string looked(const std::string& helper) {
    return "r7 = r1\n*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\nr2 = r10\nr2 += -16\nr3 = 12\nr4 = 0\nr5 = "
           "0\ncall " +
           helper + "\n";
}
std::string held(const std::string& helper) { return looked(helper) + "if r0 == 0 goto out\nr6 = r0\n"; }
const std::string release = "r1 = r6\ncall sk_release\n";

void add_sockets(const auto& add) {
    for (const std::string helper : {"sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp"}) {
        for (const P type : {P::sched_cls, P::xdp, P::cgroup_skb, P::sk_skb}) {
            add("lookup and release", held(helper) + release + end, F::none, type);
            add("lookup without release", held(helper) + end, F::reference_leak, type);
        }
        add("lookup not compared", looked(helper) + end, F::reference_leak);
        add("lookup released without comparison", looked(helper) + "r1 = r0\ncall sk_release\n" + end, F::maybe_null);
        add("lookup read before comparison", looked(helper) + "r1 = *(u32 *)(r0 + 4)\n" + end, F::maybe_null);
        add("released twice", held(helper) + release + release + end, F::wrong_argument);
        add("read after release", held(helper) + release + "r1 = *(u32 *)(r6 + 4)\n" + end, F::not_a_pointer);
        add("a copy read after release", held(helper) + "r8 = r6\n" + release + "r1 = *(u32 *)(r8 + 4)\n" + end,
            F::not_a_pointer);
        add("a saved copy read after release",
            held(helper) + "*(u64 *)(r10 - 24) = r6\n" + release + "r8 = *(u64 *)(r10 - 24)\nr1 = *(u32 *)(r8 + 4)\n" +
                end,
            F::not_a_pointer);
        add("released by its saved copy",
            held(helper) + "*(u64 *)(r10 - 24) = r6\nr6 = 0\nr6 = *(u64 *)(r10 - 24)\n" + release + end);
        add("overwritten", held(helper) + "r6 = 0\nr0 = 0\n" + end, F::reference_leak);
        add("moved", held(helper) + "r6 += 8\n" + release + end, F::pointer_arithmetic);
        add("moved by zero", held(helper) + "r6 += 0\n" + release + end, F::pointer_arithmetic);
        add("held at a tail call", held(helper) + "r1 = r7\nr2 = @progs\nr3 = 0\ncall tail_call\n" + release + end,
            F::reference_leak);
        add("held at a packet load",
            "r8 = r1\n" + held(helper) + "r9 = r6\nr6 = r8\nr0 = *(u8 *)skb[0]\nr6 = r9\n" + release + end,
            F::reference_leak);
        add("stored to", held(helper) + "*(u32 *)(r6 + 0) = 0\n" + release + end, F::read_only);
        add("exchanged", held(helper) + "r1 = 1\nlock *(u64 *)(r6 + 0) += r1\n" + release + end, F::atomic_region);
        add("put into a map", held(helper) + found("global") + "*(u64 *)(r0 + 0) = r6\n" + release + end,
            F::reference_leak);
        add("two held", held(helper) + "r8 = r6\nr1 = r7\n" + looked(helper) +
                            "if r0 == 0 goto one\nr1 = r0\ncall sk_release\n"
                            "one: r1 = r8\ncall sk_release\n" +
                            end);
        add("two held, one released",
            held(helper) + "r8 = r6\nr1 = r7\n" + looked(helper) +
                "if r0 == 0 goto one\none: r1 = r8\ncall sk_release\n" + end,
            F::reference_leak);
    }
    add("lookup by no bytes",
        "r2 = r10\nr2 += -8\nr3 = 0\nr4 = 0\nr5 = 0\ncall sk_lookup_tcp\nif r0 == 0 goto out\n"
        "r1 = r0\ncall sk_release\n" +
            end);
    for (const char* helper : {"sk_fullsock", "tcp_sock"}) {
        const std::string made = std::string("r1 = r6\ncall ") + helper + "\n";
        add("converted, released by the conversion", held("skc_lookup_tcp") + made +
                                                         "if r0 == 0 goto free\nr1 = r0\ncall sk_release\n"
                                                         "goto out\nfree: r1 = r6\ncall sk_release\n" +
                                                         end);
        add("converted, and read after release",
            held("skc_lookup_tcp") + made + "r8 = r0\n" + release + "if r8 == 0 goto out\nr1 = *(u32 *)(r8 + 0)\n" +
                end,
            F::not_a_pointer);
        add("converted, and read before release",
            held("skc_lookup_tcp") + made +
                "if r0 == 0 goto free\nr1 = *(u32 *)(r0 + 0)\nfree: r1 = r6\ncall sk_release\n" + end);
        add("converted to null: still held", held("skc_lookup_tcp") + made + "if r0 == 0 goto out\n" + release + end,
            F::reference_leak);
        add("a number converted", std::string("r1 = 7\ncall ") + helper + "\n" + end, F::wrong_argument);
    }
    add("the listener of a held one", held("sk_lookup_tcp") + "r1 = r6\ncall get_listener_sock\nr8 = r0\n" + release +
                                          "if r8 == 0 goto out\nr1 = *(u32 *)(r8 + 4)\n" + end);
    add("the listener released",
        held("sk_lookup_tcp") + "r1 = r6\ncall get_listener_sock\nr8 = r0\n" + release +
            "if r8 == 0 goto out\nr1 = r8\ncall sk_release\n" + end,
        F::not_acquired);
    for (const char* helper : {"skc_to_tcp_sock", "skc_to_tcp6_sock", "skc_to_udp6_sock", "skc_to_tcp_timewait_sock",
                               "skc_to_tcp_request_sock", "skc_to_unix_sock", "skc_to_mptcp_sock"}) {
        const std::string made = std::string("r1 = r6\ncall ") + helper + "\n";
        add("cast and released", held("sk_lookup_tcp") + made + release + end);
        const bool alone = std::string_view(helper) == "skc_to_unix_sock";
        add("cast, released by the cast",
            held("sk_lookup_tcp") + made +
                "if r0 == 0 goto free\nr1 = r0\ncall sk_release\ngoto out\n"
                "free: r1 = r6\ncall sk_release\n" +
                end,
            alone ? F::not_acquired : F::none);
        add("cast of the context's",
            "r1 = *(u64 *)(r1 + 168)\nif r1 == 0 goto out\ncall " + std::string(helper) + "\n" + end);
    }
    const std::string sk = "r6 = *(u64 *)(r1 + 168)\n";
    add("the context's socket", sk + "if r6 == 0 goto out\nr1 = *(u32 *)(r6 + 4)\n" + end);
    add("the context's socket not compared", sk + "r1 = *(u32 *)(r6 + 4)\n" + end, F::maybe_null);
    add("the context's socket released", sk + "if r6 == 0 goto out\n" + release + end, F::not_acquired);
    add("only in a full socket", sk + "if r6 == 0 goto out\nr1 = *(u32 *)(r6 + 16)\n" + end, F::socket_field);
    add("a full socket",
        sk + "if r6 == 0 goto out\nr1 = r6\ncall sk_fullsock\nif r0 == 0 goto out\nr1 = *(u32 *)(r0 + 16)\n" + end);
    add("a TCP socket",
        sk + "if r6 == 0 goto out\nr1 = r6\ncall tcp_sock\nif r0 == 0 goto out\nr1 = *(u64 *)(r0 + 80)\n" + end);
    add("two loads, two comparisons",
        sk + "r7 = *(u64 *)(r1 + 168)\nif r6 == 0 goto out\nr1 = *(u32 *)(r7 + 4)\n" + end, F::maybe_null);
    add("full sockets of full sockets",
        sk +
            "if r6 == 0 goto out\nr1 = r6\ncall sk_fullsock\nif r0 == 0 goto out\nr1 = r0\n"
            "call sk_fullsock\nif r0 == 0 goto out\nr1 = *(u32 *)(r0 + 16)\n" +
            end);
    const std::string cookie =
        "r8 = r10\nr8 += -40\n*(u64 *)(r8 + 0) = 0\n*(u64 *)(r8 + 8) = 0\n*(u64 *)(r8 + 16) = 0\n"
        "*(u64 *)(r8 + 24) = 0\n*(u64 *)(r10 - 8) = 0\n";
    for (const char* helper : {"tcp_check_syncookie", "tcp_gen_syncookie"})
        add("SYN cookies", held("skc_lookup_tcp") + cookie + "r1 = r6\nr2 = r8\nr3 = 20\nr4 = r8\nr5 = 20\ncall " +
                               helper + "\n" + release + end);
    add("a SYN cookie of no socket",
        cookie + "r1 = 0\nr2 = r8\nr3 = 20\nr4 = r8\nr5 = 20\ncall tcp_check_syncookie\n" + end, F::wrong_argument);
    add("raw SYN cookies",
        cookie +
            "r1 = r8\nr2 = r8\nr3 = 20\ncall tcp_raw_gen_syncookie_ipv4\nr1 = r8\nr2 = r8\n"
            "call tcp_raw_check_syncookie_ipv4\n" +
            end,
        F::none, P::xdp);
    add("raw SYN cookies, header too short",
        cookie + "r1 = r10\nr1 += -16\nr2 = r8\nr3 = 20\ncall tcp_raw_gen_syncookie_ipv4\n" + end, F::out_of_stack,
        P::xdp);
    add("assigned", held("skc_lookup_tcp") + "r1 = r7\nr2 = r6\nr3 = 0\ncall sk_assign\n" + release + end);
    add("assigned a number", "r2 = 0\nr3 = 0\ncall sk_assign\n" + end, F::wrong_argument);
    const std::string chosen = "r2 = *(u64 *)(r1 + 0)\n";
    add("sk_lookup assigns null", "r2 = 0\nr3 = 0\ncall sk_assign\n" + end, F::none, P::sk_lookup, A::sk_lookup);
    add("sk_lookup assigns what it has", chosen + "if r2 == 0 goto out\nr3 = 0\ncall sk_assign\n" + end, F::none,
        P::sk_lookup, A::sk_lookup);
    add("sk_lookup assigns what may be null", chosen + "r3 = 0\ncall sk_assign\n" + end, F::none, P::sk_lookup,
        A::sk_lookup);
    add("sk_lookup assigns from a map",
        "r7 = r1\n" + found("socks") + "r6 = r0\nr1 = r7\nr2 = r6\nr3 = 0\ncall sk_assign\n" + release + end, F::none,
        P::sk_lookup, A::sk_lookup);
    add("sk_lookup assigns from a map and forgets",
        "r7 = r1\n" + found("socks") + "r1 = r7\nr2 = r0\nr3 = 0\ncall sk_assign\n" + end, F::reference_leak,
        P::sk_lookup, A::sk_lookup);
    add("sk_reuseport's socket", "r2 = *(u64 *)(r1 + 40)\nr0 = *(u32 *)(r2 + 16)\nr0 = 0\nexit", F::none,
        P::sk_reuseport);
    add("sk_reuseport's migrating socket", "r2 = *(u64 *)(r1 + 48)\nr0 = *(u32 *)(r2 + 4)\nr0 = 0\nexit", F::maybe_null,
        P::sk_reuseport);
    add("a cookie of a socket", "r1 = *(u64 *)(r1 + 48)\ncall get_socket_cookie\n" + end, F::none, P::sk_reuseport);
    add("a cookie of nothing", "r1 = 0\ncall get_socket_cookie\n" + end, F::none, P::sk_reuseport);
    add("a cookie of the context", "call get_socket_cookie\n" + end, F::wrong_argument, P::sk_reuseport);
    add("sock_ops' socket",
        "r1 = *(u64 *)(r1 + 184)\nif r1 == 0 goto out\ncall tcp_sock\nif r0 == 0 goto out\nr1 = *(u32 *)(r0 + 0)\n" +
            end,
        F::none, P::sock_ops);
    add("sockopt's socket",
        "r6 = r1\nr1 = *(u64 *)(r1 + 0)\nr2 = *(u32 *)(r1 + 16)\nr1 = *(u64 *)(r6 + 0)\ncall tcp_sock\n" + end, F::none,
        P::cgroup_sockopt, A::cgroup_getsockopt);
    add("options of the context's socket",
        "r1 = *(u64 *)(r1 + 0)\nr2 = 1\nr3 = 2\nr4 = r10\nr4 += -8\n*(u64 *)(r4 + 0) = 0\nr5 = 4\n"
        "call setsockopt\n" +
            end,
        F::none, P::cgroup_sockopt, A::cgroup_setsockopt);
    add("options of the context",
        "r2 = 1\nr3 = 2\nr4 = r10\nr4 += -8\n*(u64 *)(r4 + 0) = 0\nr5 = 4\ncall setsockopt\n" + end, F::wrong_argument,
        P::cgroup_sockopt, A::cgroup_setsockopt);
    // Records and sockets together; both are references.
    add("a record and a socket",
        "r9 = r1\n" + reserve + "if r0 == 0 goto out\nr8 = r0\nr1 = r9\n" + looked("sk_lookup_tcp") +
            "if r0 == 0 goto one\nr1 = r0\ncall sk_release\none: r1 = r8\nr2 = 0\ncall ringbuf_submit\n" + end);
    add("a record and a socket, the record kept",
        "r9 = r1\n" + reserve + "if r0 == 0 goto out\nr8 = r0\nr1 = r9\n" + looked("sk_lookup_tcp") +
            "if r0 == 0 goto out\nr1 = r0\ncall sk_release\n" + end,
        F::record_leak);
    add("a record released as a socket", reserve + "if r0 == 0 goto out\nr1 = r0\ncall sk_release\n" + end,
        F::wrong_argument);
    add("a socket submitted", held("sk_lookup_tcp") + "r1 = r6\nr2 = 0\ncall ringbuf_submit\n" + end,
        F::wrong_argument);
    add("a record as key and value",
        reserve +
            "if r0 == 0 goto out\nr6 = r0\n*(u64 *)(r6 + 0) = 0\n*(u64 *)(r6 + 8) = 0\nr1 = @hash\nr2 = r6\nr3 = "
            "r6\nr4 = 0\n"
            "call map_update_elem\nr1 = r6\nr2 = 0\ncall ringbuf_submit\n" +
            end,
        F::two_references);
    add("a record as key",
        reserve +
            "if r0 == 0 goto out\nr6 = r0\nr1 = @array\nr2 = r6\ncall map_lookup_elem\nr1 = r6\nr2 = 0\n"
            "call ringbuf_submit\n" +
            end);
    add("a record used after submission",
        reserve + "if r0 == 0 goto out\nr6 = r0\nr1 = r6\nr2 = 0\ncall ringbuf_submit\nr0 = r6\n" + end);
    // In functions of the program.
    add("released in a function",
        held("sk_lookup_tcp") +
            "r1 = r6\ncall free\nr0 = 0\nexit\nout: r0 = 0\nexit\nfree: call sk_release\nr0 = 0\nexit");
    add("acquired in a function",
        "call get\nif r0 == 0 goto out\nr1 = r0\ncall sk_release\nr0 = 0\nexit\nout: r0 = 0\nexit\nget: " +
            looked("sk_lookup_tcp") + "exit");
    add("acquired in a function and lost", "call get\nr0 = 0\nexit\nget: " + looked("sk_lookup_tcp") + "exit",
        F::reference_leak);
    add("acquired and lost in a round",
        "r1 = 4\nr2 = each ll\nr3 = 0\nr4 = 0\ncall loop\nr0 = 0\nexit\neach: " + reserve + "r0 = 0\nexit",
        F::record_leak);
    add("acquired and released in a round",
        "r1 = 4\nr2 = each ll\nr3 = 0\nr4 = 0\ncall loop\nr0 = 0\nexit\neach: " + reserve +
            "if r0 == 0 goto done\nr1 = r0\nr2 = 0\ncall ringbuf_submit\ndone: r0 = 0\nexit");
    const std::string outside = reserve + "if r0 == 0 goto out\n*(u64 *)(r10 - 8) = r0\n";
    const std::string inside =
        "each: r6 = r2\nr1 = *(u64 *)(r6 + 0)\nif r1 == 0 goto done\nr2 = 0\ncall ringbuf_submit\n";
    const std::string after = "r1 = *(u64 *)(r10 - 8)\nif r1 == 0 goto out\nr2 = 0\ncall ringbuf_submit\n";
    for (const char* rounds : {"1", "2"}) {
        const std::string loop = outside + "r1 = " + rounds + "\nr2 = each ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall loop\n";
        add("released in a round", loop + after + end + inside + "*(u64 *)(r6 + 0) = 0\ndone: r0 = 1\nexit");
        add("released in a round and again", loop + after + end + inside + "done: r0 = 1\nexit", F::wrong_argument);
        add("acquired in a round for after it",
            "*(u64 *)(r10 - 8) = 0\nr1 = " + std::string(rounds) +
                "\nr2 = each ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall loop\n" + after + end +
                "each: r6 = r2\nr1 = *(u64 *)(r6 + 0)\nif r1 != 0 goto done\n" + reserve +
                "if r0 == 0 goto done\n*(u64 *)(r6 + 0) = r0\ndone: r0 = 0\nexit");
        add("not released in a round", loop + after + end + "each: r0 = 0\nexit");
    }
}

void add_locks(const auto& add) {
    const std::string value = found("locked") + "r6 = r0\n";
    const std::string lock = "r1 = r6\nr1 += 4\ncall spin_lock\n", unlock = "r1 = r6\nr1 += 4\ncall spin_unlock\n";
    add("locked and unlocked", value + lock + "*(u32 *)(r6 + 0) = 1\n" + unlock + end);
    for (const P type : {P::socket_filter, P::kprobe, P::tracepoint, P::raw_tracepoint, P::perf_event})
        add("locks are not for the type", value + lock + unlock + end, F::lock_program, type);
    for (const P type : {P::xdp, P::cgroup_skb, P::sk_msg, P::sock_ops, P::sk_skb, P::lwt_in})
        add("locks are for the type", value + lock + unlock + end, F::none, type);
    add("a map with a lock in a tracing program", "r1 = @locked\nr0 = 0\nexit", F::lock_program, P::kprobe);
    add("not unlocked", value + lock + end, F::lock_held_at_end);
    add("unlocked on one path", value + lock + "r1 = *(u32 *)(r6 + 0)\nif r1 == 0 goto out\n" + unlock + end,
        F::lock_held_at_end);
    add("not locked", value + unlock + end, F::lock_not_held);
    add("unlocked twice", value + lock + unlock + unlock + end, F::lock_not_held);
    add("locked twice", value + lock + lock + end, F::lock_held_call);
    add("locked again after unlocking", value + lock + unlock + lock + unlock + end);
    add("another lookup unlocked",
        value + found("locked") + "r7 = r0\n" + lock + "r1 = r7\nr1 += 4\ncall spin_unlock\n" + end, F::other_lock);
    add("a copy unlocked", value + "r7 = r6\n" + lock + "r1 = r7\nr1 += 4\ncall spin_unlock\n" + end);
    add("another value locked meanwhile",
        value + found("locked") + "r7 = r0\n" + lock + "r1 = r7\nr1 += 4\ncall spin_lock\n" + end, F::lock_held_call);
    add("a saved pointer unlocked",
        value + "*(u64 *)(r10 - 16) = r6\n" + lock + "r6 = *(u64 *)(r10 - 16)\n" + unlock + end);
    add("a helper called", value + lock + "call ktime_get_ns\n" + unlock + end, F::lock_held_call);
    add("a function called", value + lock + "call f\n" + unlock + "r0 = 0\nexit\nout: r0 = 0\nexit\nf: r0 = 1\nexit");
    add("unlocked in a function",
        value + lock + "r1 = r6\ncall f\nr0 = 0\nexit\nout: r0 = 0\nexit\nf: r1 += 4\ncall spin_unlock\nr0 = 0\nexit");
    add("exit in a function", value + lock + "call f\nr0 = 0\nexit\nout: r0 = 0\nexit\nf: r0 = 1\nexit",
        F::lock_held_at_end);
    add("a packet loaded",
        "r8 = r1\n" + value +
            "r9 = r6\nr6 = r8\nr1 = r9\nr1 += 4\ncall spin_lock\nr0 = *(u8 *)skb[0]\nr1 = r9\nr1 += 4\n"
            "call spin_unlock\n" +
            end,
        F::lock_held_at_end);
    add("a tail call", "r8 = r1\n" + value + lock + "r1 = r8\nr2 = @progs\nr3 = 0\ncall tail_call\n" + unlock + end,
        F::lock_held_call);
    add("not at the lock", value + "r1 = r6\ncall spin_lock\n" + end, F::not_the_lock);
    add("at a variable offset", value + "r1 = *(u32 *)(r6 + 0)\nr1 &= 4\nr1 += r6\ncall spin_lock\n" + end,
        F::not_the_lock);
    add("no lock in the map", found("hash") + "r1 = r0\ncall spin_lock\n" + end, F::no_lock);
    add("a lock on the stack", "r1 = r10\nr1 += -8\n*(u64 *)(r1 + 0) = 0\ncall spin_lock\n" + end, F::wrong_argument);
    add("a lock that may be null", lookup("locked") + "r1 = r0\ncall spin_lock\n" + end, F::maybe_null);
    add("a lock in global data", "r6 = map[idx:34][0]+0 ll\n" + lock + unlock + end);
    add("a lock in global data, unlocked by lookup",
        found("locked_global") + "r7 = r0\nr6 = map[idx:34][0]+0 ll\n" + lock + "r1 = r7\nr1 += 4\ncall spin_unlock\n" +
            end,
        F::other_lock);
    add("a lock in global data, loaded twice",
        "r6 = map[idx:34][0]+0 ll\n" + lock + "r6 = map[idx:34][0]+0 ll\n" + unlock + end);
    for (const char* load : {"r1 = *(u32 *)(r6 + 4)", "r1 = *(u64 *)(r6 + 0)", "r1 = *(u8 *)(r6 + 7)",
                             "*(u32 *)(r6 + 4) = 0", "*(u64 *)(r6 + 0) = 0", "r1 = 1\nlock *(u32 *)(r6 + 4) += r1"})
        add("the lock touched", value + load + "\n" + end, F::lock_access);
    for (const char* load :
         {"r1 = *(u32 *)(r6 + 0)", "r1 = *(u64 *)(r6 + 8)", "*(u8 *)(r6 + 3) = 0", "*(u64 *)(r6 + 8) = 0"})
        add("beside the lock", value + load + "\n" + end);
    add("the lock touched at a variable offset",
        value + "r1 = *(u32 *)(r6 + 0)\nr1 &= 7\nr1 += r6\nr1 = *(u8 *)(r1 + 0)\n" + end, F::lock_access);
    add("beside the lock at a variable offset",
        value + "r1 = *(u32 *)(r6 + 0)\nr1 &= 3\nr1 += r6\nr1 = *(u8 *)(r1 + 0)\n" + end);
    add("the lock as memory", value + "r1 = r6\nr2 = 16\ncall get_current_comm\n" + end, F::lock_access);
    add("beside the lock as memory", value + "r1 = r6\nr1 += 8\nr2 = 8\ncall get_current_comm\n" + end);
    add("the lock as a value", value + key + "r1 = @hash\nr3 = r6\nr4 = 0\ncall map_update_elem\n" + end,
        F::lock_access);
    add("a value with a lock updated", key +
                                           "r3 = r10\nr3 += -24\n*(u64 *)(r3 + 0) = 0\n*(u64 *)(r3 + 8) = 0\nr1 = "
                                           "@locked\nr4 = 4\ncall map_update_elem\n" +
                                           end);
    add("a lock in an inner map", found("of_locked") + "r1 = r0\n" + key +
                                      "call map_lookup_elem\nif r0 == 0 goto out\nr6 = r0\n" + lock + unlock + end);
    add("a lock in an inner map touched",
        found("of_locked") + "r1 = r0\n" + key + "call map_lookup_elem\nif r0 == 0 goto out\nr6 = *(u32 *)(r0 + 4)\n" +
            end,
        F::lock_access);
    add("locks on two paths, unlocked where they meet",
        value + found("locked") + "r7 = r0\ncall get_prandom_u32\nif r0 == 0 goto two\n" + lock +
            "goto meet\ntwo: r1 = r7\nr1 += 4\ncall spin_lock\nr6 = r7\nmeet: " + unlock + end);
    add("locks on two paths, one of them unlocked where they meet",
        value + found("locked") + "r7 = r0\ncall get_prandom_u32\nif r0 == 0 goto two\n" + lock +
            "goto meet\ntwo: r1 = r7\nr1 += 4\ncall spin_lock\nr0 = 0\nmeet: " + unlock + end,
        F::other_lock);
    const std::string each =
        "r1 = 4\nr2 = each ll\nr3 = 0\nr4 = 0\ncall loop\nr0 = 0\nexit\n"
        "each: " +
        lookup("locked") + "if r0 == 0 goto done\nr6 = r0\n";
    add("in a callback", each + lock + unlock + "done: r0 = 0\nexit");
    add("kept by a callback", each + lock + "done: r0 = 0\nexit", F::lock_held_call);
    add("a kernel pointer touched", found("pointed") + "r1 = *(u32 *)(r0 + 0)\n" + end, F::kptr_access);
    add("beside a kernel pointer", found("pointed") + "r1 = *(u32 *)(r0 + 8)\n" + end);
    add("a kernel pointer as memory", found("pointed") + "r1 = r0\nr2 = 16\ncall get_current_comm\n" + end,
        F::kptr_access);
    add("a work queue touched", found("queued") + "r1 = *(u32 *)(r0 + 0)\n" + end, F::field_access);
    add("a work queue in a tracing program", "r1 = @queued\nr0 = 0\nexit", F::field_program, P::kprobe);
    add("a map that goes while a program sleeps", "r1 = @trie\nr0 = 0\nexit", F::map_sleepable, P::syscall, {}, true);
    add("beside a work queue", found("queued") + "r1 = *(u32 *)(r0 + 16)\n" + end);
    add("a struct_ops map of another kind", "r1 = @hash\nr0 = 0\nexit");
}

void add_timers(const auto& add) {
    const std::string value = found("timed") + "r6 = r0\n";
    const std::string init = "r1 = r6\nr2 = @timed\nr3 = 0\ncall timer_init\n";
    const std::string set = "r1 = r6\nr2 = tick ll\ncall timer_set_callback\n";
    const std::string start = "r1 = r6\nr2 = 1000\nr3 = 0\ncall timer_start\n";
    const auto tick = [](const std::string& body) { return end + "tick: " + body; };
    const std::string good = "r0 = 0\nexit";
    add("a timer", value + init + set + start + tick(good));
    add("a timer cancelled", value + "r1 = r6\ncall timer_cancel\n" + end);
    for (const P type : {P::kprobe, P::tracepoint, P::raw_tracepoint, P::perf_event})
        add("timers are not for the type", value + init + end, F::timer_program, type);
    for (const P type : {P::socket_filter, P::xdp, P::cgroup_skb})
        add("timers are for the type", value + init + end, F::none, type);
    add("not at the timer", value + "r6 += 8\n" + init + end, F::not_the_timer);
    add("no timer in the map", found("hash") + "r6 = r0\n" + init + end, F::no_timer);
    add("a timer on the stack", "r6 = r10\nr6 += -16\n*(u64 *)(r6 + 0) = 0\n*(u64 *)(r6 + 8) = 0\n" + init + end,
        F::wrong_argument);
    add("a timer that may be null", lookup("timed") + "r6 = r0\n" + init + end, F::maybe_null);
    add("a timer of another map", value + "r1 = r6\nr2 = @timed_hash\nr3 = 0\ncall timer_init\n" + end,
        F::timer_of_other_map);
    add("a timer of an inner map", found("of_timed") + "r7 = r0\nr1 = r0\n" + key +
                                       "call map_lookup_elem\nif r0 == 0 goto out\nr1 = r0\nr2 = r7\nr3 = 0\n"
                                       "call timer_init\n" +
                                       end);
    add("a timer of another inner map",
        found("of_timed") + "r7 = r0\n" + found("of_timed") + "r1 = r0\n" + key +
            "call map_lookup_elem\nif r0 == 0 goto out\nr1 = r0\nr2 = r7\nr3 = 0\n"
            "call timer_init\n" +
            end,
        F::timer_of_other_map);
    add("a timer of the map that the inner one is like",
        found("of_timed") + "r1 = r0\n" + key +
            "call map_lookup_elem\nif r0 == 0 goto out\nr1 = r0\nr2 = @timed\nr3 = 0\n"
            "call timer_init\n" +
            end,
        F::timer_of_other_map);
    for (const char* load : {"r1 = *(u64 *)(r6 + 0)", "r1 = *(u32 *)(r6 + 12)", "*(u64 *)(r6 + 8) = 0"})
        add("the timer touched", value + load + "\n" + end, F::timer_access);
    add("beside the timer", value + "r1 = *(u64 *)(r6 + 16)\n" + end);
    add("a number as the function", value + "r1 = r6\nr2 = 5\ncall timer_set_callback\n" + end, F::wrong_argument);
    add("the function returns 1", value + set + tick("r0 = 1\nexit"), F::timer_return);
    add("the function returns a number", value + set + tick("r0 = *(u32 *)(r2 + 0)\nexit"), F::timer_return);
    add("the function reads the value", value + set + tick("r0 = *(u64 *)(r3 + 16)\nr0 = 0\nexit"));
    add("the function reads the timer", value + set + tick("r0 = *(u64 *)(r3 + 0)\nr0 = 0\nexit"), F::timer_access);
    add("the function reads the key", value + set + tick("r0 = *(u32 *)(r2 + 0)\nr0 = 0\nexit"));
    add("the function reads beyond the key", value + set + tick("r0 = *(u32 *)(r2 + 4)\nr0 = 0\nexit"),
        F::out_of_record);
    add("the function writes the key", value + set + tick("*(u32 *)(r2 + 0) = 0\nr0 = 0\nexit"), F::read_only);
    add("the function reads r4", value + set + tick("r0 = r4\nr0 = 0\nexit"), F::uninitialized_register);
    add("the function reads a saved register", value + set + tick("r0 = r6\nr0 = 0\nexit"), F::uninitialized_register);
    add("the function starts it again",
        value + set + tick("r1 = r3\nr2 = 1000\nr3 = 0\ncall timer_start\nr0 = 0\nexit"));
    add("the function sets itself", value + set + tick("r1 = r3\nr2 = tick ll\ncall timer_set_callback\nr0 = 0\nexit"));
    add("the function uses its map", value + set + tick("r6 = r3\nr4 = 0\ncall map_delete_elem\nr0 = 0\nexit"));
    add("the function keeps a record", value + set + tick(reserve + "r0 = 0\nexit"), F::record_leak);
    add("the function never ends", value + set + tick("goto tick"), F::infinite_loop);
    add("the function makes a tail call",
        value + set + tick("r1 = r3\nr2 = @progs\nr3 = 0\ncall tail_call\nr0 = 0\nexit"), F::wrong_argument);
    add("the function calls another", value + set + tick("call f\nr0 = 0\nexit\nf: r0 = 5\nexit"));
    add("the function is used twice", value + set + set + tick(good));
    add("a record held while it is set", reserve + "if r0 == 0 goto out\nr7 = r0\n" + lookup("timed") +
                                             "if r0 == 0 goto free\nr6 = r0\n" + set +
                                             "free: r1 = r7\nr2 = 0\ncall ringbuf_submit\n" + tick(good));
    add("set in a function", value +
                                 "r1 = r6\ncall f\nr0 = 0\nexit\nout: r0 = 0\nexit\nf: r2 = tick ll\ncall "
                                 "timer_set_callback\nr0 = 0\nexit\ntick: " +
                                 good);
    add("set in a callback", "r1 = 4\nr2 = each ll\nr3 = 0\nr4 = 0\ncall loop\nr0 = 0\nexit\neach: " + lookup("timed") +
                                 "if r0 == 0 goto done\nr6 = r0\n" + set + "done: r0 = 0\nexit\ntick: " + good);
    add("the function reads packets", value + set + tick("r6 = r1\nr0 = *(u8 *)skb[0]\nr0 = 0\nexit"),
        F::packet_load_context);
    add("the same function as callback and timer",
        value + set + "r1 = 4\nr2 = tick ll\nr3 = 0\nr4 = 0\ncall loop\n" + tick(good));
}

void add_callbacks(const auto& add) {
    const auto walk = [](const std::string& map, const std::string& body) {
        return "*(u64 *)(r10 - 8) = 0\nr1 = @" + map +
               "\nr2 = each ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall for_each_map_elem\nr0 = 0\nexit\neach: " + body;
    };
    const std::string good = "r0 = 0\nexit";
    for (const char* map :
         {"hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu", "locked", "timed"})
        add("walked", walk(map, good));
    for (const char* map :
         {"trie", "queue", "ring", "array_of_maps", "progs", "events", "bloom", "socks", "devices", "sk_storage"})
        add("not to be walked", walk(map, good), F::wrong_map_type, P::xdp);
    for (const char* body :
         {"r0 = *(u32 *)(r2 + 0)\nr0 = *(u64 *)(r3 + 0)\nr0 = *(u64 *)(r4 + 0)\nr0 = 0\nexit",
          "*(u64 *)(r3 + 0) = 1\nr0 = 1\nexit", "*(u64 *)(r4 + 0) = 1\nr0 = 0\nexit",
          "call map_delete_elem\nr0 = 0\nexit", "r6 = r1\nr1 = r6\ncall map_lookup_elem\nr0 = 0\nexit",
          "r3 = 4\nr3 = 0\nr0 = r3\nexit", "r0 = *(u8 *)(r2 + 3)\nr0 &= 1\nexit"})
        add("an entry", walk("array", body));
    for (const auto& [body, what] :
         {std::pair("r0 = 2\nexit", F::callback_return), std::pair("r0 = *(u32 *)(r2 + 0)\nexit", F::callback_return),
          std::pair("r0 = r5\nr0 = 0\nexit", F::uninitialized_register),
          std::pair("*(u32 *)(r2 + 0) = 0\nr0 = 0\nexit", F::read_only),
          std::pair("r0 = *(u64 *)(r2 + 0)\nr0 = 0\nexit", F::out_of_record),
          std::pair("r0 = *(u64 *)(r3 + 8)\nr0 = 0\nexit", F::out_of_map_value),
          std::pair("r0 = r6\nr0 = 0\nexit", F::uninitialized_register), std::pair("exit", F::uninitialized_register)})
        add("an entry", walk("array", body), what);
    add("a key with a number added",
        walk("array", "r0 = *(u64 *)(r3 + 0)\nr0 &= 3\nr2 += r0\nr0 = *(u8 *)(r2 + 0)\nr0 = 0\nexit"));
    add("a key with too much added",
        walk("array", "r0 = *(u64 *)(r3 + 0)\nr0 &= 7\nr2 += r0\nr0 = *(u8 *)(r2 + 0)\nr0 = 0\nexit"),
        F::out_of_record);
    add("a key as memory written", walk("hash", "r1 = r2\nr2 = 4\ncall get_current_comm\nr0 = 0\nexit"), F::read_only);
    add("a key as memory read", walk("hash", "r1 = @hash\ncall map_lookup_elem\nr0 = 0\nexit"));
    add("a key too short for the other map", walk("hash", "r1 = @trie\ncall map_lookup_elem\nr0 = 0\nexit"),
        F::out_of_record);
    add("the value of a lock",
        walk("locked", "r6 = r3\nr1 = r6\nr1 += 4\ncall spin_lock\nr1 = r6\nr1 += 4\ncall spin_unlock\nr0 = 0\nexit"));
    add("walks in walks",
        walk("array",
             "r1 = @hash\nr2 = inner ll\nr3 = 0\nr4 = 0\ncall for_each_map_elem\nr0 = 0\nexit\ninner: r0 = 0\nexit"));
    add("a loop in a walk",
        walk("array", "r1 = 4\nr2 = inner ll\nr3 = 0\nr4 = 0\ncall loop\nr0 = 0\nexit\ninner: r0 = 0\nexit"));
    add("a pointer as the number of rounds",
        "r2 = each ll\nr3 = 0\nr4 = 0\ncall loop\nr0 = 0\nexit\neach: r0 = 0\nexit", F::wrong_argument);
    add("a walk that calls itself",
        walk("array", "r1 = @hash\nr2 = each ll\nr3 = 0\nr4 = 0\ncall for_each_map_elem\nr0 = 0\nexit"),
        F::too_many_frames);
    add("a tail call in a walk",
        "*(u64 *)(r10 - 8) = r1\nr1 = @array\nr2 = each ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall for_each_map_elem\nr0 = "
        "0\nexit\n"
        "each: r1 = *(u64 *)(r4 + 0)\nr2 = @progs\nr3 = 0\ncall tail_call\nr0 = 0\nexit",
        F::tail_call_in_frame);
    add("a packet load in a walk",
        "*(u64 *)(r10 - 8) = r1\nr1 = @array\nr2 = each ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall for_each_map_elem\nr0 = "
        "0\nexit\n"
        "each: r6 = *(u64 *)(r4 + 0)\nr0 = *(u8 *)skb[0]\nr0 = 0\nexit",
        F::packet_load_in_callback);
    add("a number as the function", "r1 = @array\nr2 = 5\nr3 = 0\nr4 = 0\ncall for_each_map_elem\nr0 = 0\nexit",
        F::wrong_argument);
    add("a number as the context",
        "r1 = @array\nr2 = each ll\nr3 = 7\nr4 = 0\ncall for_each_map_elem\nr0 = 0\nexit\neach: r0 = 0\nexit",
        F::wrong_argument);
    add("a map value as the context",
        found("hash") +
            "r3 = r0\nr1 = @array\nr2 = each ll\nr4 = 0\ncall for_each_map_elem\nr0 = 0\nexit\nout: r0 = "
            "0\nexit\neach: r0 = 0\nexit",
        F::wrong_argument);
    add("a null context read",
        "r1 = @array\nr2 = each ll\nr3 = 0\nr4 = 0\ncall for_each_map_elem\nr0 = 0\nexit\neach: r0 = *(u64 *)(r4 + "
        "0)\nr0 = 0\nexit",
        F::not_a_pointer);
    add("an inner map walked",
        found("array_of_maps") +
            "r1 = r0\nr2 = each ll\nr3 = 0\nr4 = 0\ncall for_each_map_elem\nr0 = 0\nexit\nout: r0 = 0\nexit\n"
            "each: r0 = *(u64 *)(r3 + 0)\nr0 = 0\nexit");
    add("a counter in the context",
        walk("array", "r1 = *(u64 *)(r4 + 0)\nr1 += 1\n*(u64 *)(r4 + 0) = r1\nr0 = 0\nexit"));
    add("a pointer overwritten in a round",
        found("hash") +
            "*(u64 *)(r10 - 8) = r0\nr1 = @array\nr2 = each ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall for_each_map_elem\nr1 "
            "= *(u64 *)(r10 - 8)\n"
            "r0 = *(u64 *)(r1 + 0)\nr0 = 0\nexit\nout: r0 = 0\nexit\neach: *(u64 *)(r4 + 0) = 0\nr0 = 0\nexit",
        F::not_a_pointer);
    const auto vma = [](const std::string& body) {
        return "call get_current_task_btf\nr1 = r0\nr2 = 0\nr3 = each ll\n*(u64 *)(r10 - 8) = 0\nr4 = r10\nr4 += "
               "-8\nr5 = 0\ncall find_vma\nr0 = 0\nexit\neach: " +
               body;
    };
    for (const P type : {P::sched_cls, P::kprobe}) {
        add("an area found", vma("r0 = *(u64 *)(r3 + 0)\n*(u64 *)(r3 + 0) = 1\nr0 = 0\nexit"), F::none, type);
        add("an area found, r4", vma("r0 = r4\nr0 = 0\nexit"), F::uninitialized_register, type);
        add("an area found, 2 returned", vma("r0 = 2\nexit"), F::callback_return, type);
    }
    add("a number's area",
        "r1 = 0\nr2 = 0\nr3 = each ll\nr4 = 0\nr5 = 0\ncall find_vma\nr0 = 0\nexit\neach: r0 = 0\nexit",
        F::wrong_argument);
    const auto drain = [](const std::string& map, const std::string& body) {
        return "*(u64 *)(r10 - 8) = 0\nr1 = @" + map +
               "\nr2 = each ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall user_ringbuf_drain\nr0 = 0\nexit\neach: " + body;
    };
    add("samples drained", drain("user_ring", "r0 = *(u64 *)(r2 + 0)\nr0 = 0\nexit"));
    add("samples drained, r3", drain("user_ring", "r0 = r3\nr0 = 0\nexit"), F::uninitialized_register);
    add("samples drained, 2 returned", drain("user_ring", "r0 = 2\nexit"), F::callback_return);
    add("samples of another map", drain("ring", "r0 = 0\nexit"), F::wrong_map_type);
}

void add_contexts(const auto& add) {
    const auto packet = [](int data, int data_end) {
        return fmt::format("r2 = *(u64 *)(r1 + {})\nr3 = *(u64 *)(r1 + {})\nr4 = r2\nr4 += 8\nif r4 > r3 goto out\n",
                           data, data_end);
    };
    struct Packet {
        P type;
        A attach;
        int data, data_end;
        Finding write;
    };
    for (const Packet& one :
         {Packet{P::sk_msg, {}, 0, 8, F::none}, Packet{P::sk_reuseport, {}, 0, 8, F::packet_read_only},
          Packet{P::sock_ops, {}, 192, 200, F::packet_read_only},
          Packet{P::cgroup_sockopt, A::cgroup_getsockopt, 8, 16, F::none},
          Packet{P::cgroup_sockopt, A::cgroup_setsockopt, 8, 16, F::none}}) {
        add("packet read", packet(one.data, one.data_end) + "r0 = *(u64 *)(r2 + 0)\n" + end, F::none, one.type,
            one.attach);
        add("packet read beyond", packet(one.data, one.data_end) + "r0 = *(u64 *)(r2 + 1)\n" + end, F::out_of_packet,
            one.type, one.attach);
        add("packet written", packet(one.data, one.data_end) + "*(u64 *)(r2 + 0) = 0\n" + end, one.write, one.type,
            one.attach);
        add("packet as a key", packet(one.data, one.data_end) + "r1 = @hash\ncall map_lookup_elem\n" + end,
            one.type == P::sock_ops ? F::packet_argument : F::none, one.type, one.attach);
        add("packet as another argument",
            packet(one.data, one.data_end) + "r1 = r2\nr2 = 8\nr3 = 0\ncall trace_printk\n" + end,
            one.type == P::cgroup_sockopt ? F::none : F::packet_argument, one.type, one.attach);
    }
    const auto popped = [](const std::string& skb) {
        return "r2 = *(u32 *)(r1 + 76)\nr3 = *(u32 *)(r1 + 80)\nr4 = r2\nr4 += 8\nif r4 > r3 goto out\nr1 = "
               "@queue\ncall " +
               skb + "\n" + end;
    };
    for (const P type : {P::sched_cls, P::cgroup_skb, P::lwt_in, P::sk_skb})
        for (const char* helper : {"map_pop_elem", "map_peek_elem"})
            add("a value into the packet", popped(helper), F::packet_argument, type);
    for (const char* helper : {"msg_pull_data", "msg_push_data", "msg_pop_data"})
        add("a message moved",
            "r6 = r1\n" + packet(0, 8) + "r7 = r2\nr1 = r6\nr2 = 0\nr3 = 4\nr4 = 0\ncall " + helper +
                "\nr0 = *(u8 *)(r7 + 0)\n" + end,
            F::not_a_pointer, P::sk_msg);
    for (const char* helper : {"msg_apply_bytes", "msg_cork_bytes"})
        add("a message kept",
            "r6 = r1\n" + packet(0, 8) + "r7 = r2\nr1 = r6\nr2 = 8\ncall " + helper + "\nr0 = *(u8 *)(r7 + 0)\n" + end,
            F::none, P::sk_msg);
    const std::string keys = "r2 = *(u64 *)(r1 + 144)\n";
    add("flow keys", keys + "r0 = *(u16 *)(r2 + 0)\n*(u16 *)(r2 + 2) = 0\nr0 = *(u64 *)(r2 + 48)\n" + end, F::none,
        P::flow_dissector);
    add("flow keys, beyond", keys + "r0 = *(u64 *)(r2 + 56)\n" + end, F::out_of_record, P::flow_dissector);
    add("flow keys, before", keys + "r0 = *(u8 *)(r2 - 1)\n" + end, F::out_of_record, P::flow_dissector);
    add("flow keys, misaligned", keys + "r0 = *(u64 *)(r2 + 4)\n" + end, F::none, P::flow_dissector);
    add("flow keys and a constant", keys + "r2 += 8\nr0 = *(u64 *)(r2 + 0)\n" + end, F::none, P::flow_dissector);
    add("flow keys and a number", keys + "r3 = *(u16 *)(r2 + 0)\nr3 &= 1\nr2 += r3\n" + end, F::pointer_arithmetic,
        P::flow_dissector);
    add("flow keys as memory", keys + "r1 = r2\nr2 = 8\nr3 = 0\ncall trace_printk\n" + end, F::wrong_argument,
        P::flow_dissector);
    const std::string buffer = "r2 = *(u64 *)(r1 + 0)\n";
    add("a tracepoint's buffer", buffer + "r0 = *(u64 *)(r2 + 0)\n*(u64 *)(r2 + 8) = 0\n" + end, F::none,
        P::raw_tracepoint_writable);
    add("a tracepoint's buffer, before", buffer + "r0 = *(u8 *)(r2 - 1)\n" + end, F::pointer_offset,
        P::raw_tracepoint_writable);
    add("a tracepoint's buffer and a number",
        buffer + "r3 = *(u64 *)(r2 + 0)\nr3 &= 7\nr2 += r3\nr0 = *(u8 *)(r2 + 0)\n" + end, F::pointer_offset,
        P::raw_tracepoint_writable);
    add("a tracepoint's buffer and a constant", buffer + "r2 += 8\nr0 = *(u8 *)(r2 + 0)\n" + end, F::none,
        P::raw_tracepoint_writable);
    add("a system call's context", "*(u64 *)(r1 + 0) = 1\nr0 = *(u8 *)(r1 + 7)\n" + end, F::none, P::syscall, {}, true);
    add("a cookie of the namespace", "call get_netns_cookie\n" + end, F::none, P::sk_msg);
    add("a cookie of the first namespace", "r1 = 0\ncall get_netns_cookie\n" + end, F::none, P::sk_msg);
    add("a cookie of a number", "r1 = 1\ncall get_netns_cookie\n" + end, F::wrong_argument, P::sk_msg);
    add("an MTU", "*(u32 *)(r10 - 4) = 0\nr2 = 0\nr3 = r10\nr3 += -4\nr4 = 0\nr5 = 0\ncall check_mtu\n" + end, F::none,
        P::xdp);
    add("an MTU, misaligned",
        "*(u64 *)(r10 - 8) = 0\nr2 = 0\nr3 = r10\nr3 += -6\nr4 = 0\nr5 = 0\ncall check_mtu\n" + end, F::misaligned,
        P::xdp);
}

// What Linux looks at of an encoding, and knows of what helpers give.
void add_borders(const auto& add) {
    const std::string function = "r0 = 0\nexit\n";  // behind three instructions of the program
    const auto address = [&](const char* second) {
        return std::string(".quad 0x0000000300004218\n.quad ") + second + "\n" + function + function;
    };
    add("a function's address", address("0"));
    add("a function's address with a second immediate", address("0xfffffffe00000000"));
    add("a function's address with a second register", address("0xfffffffe00000100"), F::bad_insn);
    add("a function's address with a second source", address("0xfffffffe00001000"), F::bad_insn);
    add("a function's address with a second offset", address("0xfffffffe00010000"), F::bad_insn);
    add("a function's address with a second code", address("0xfffffffe00000005"), F::bad_insn);
    const auto traced = [](const char* compare) {
        return "r2 = r10\nr2 += -16\nr3 = 15\nr4 = 0\ncall get_stack\nif r0 s< 0 goto out\n" + std::string(compare) +
               "r6 = r0\n" + found("global") + "r0 += r6\nr1 = *(u8 *)(r0 + 48)\n" + end;
    };
    add("the length of a trace", traced(""), F::none, P::kprobe);
    add("the length of a trace, less known", traced("r0 += 1\n"), F::out_of_map_value, P::kprobe);
    const std::string element =
        "*(u32 *)(r10 - 8) = 0\nr2 = r10\nr2 += -8\nr1 = @locked_global\ncall map_lookup_elem\n";
    const auto two = [&](const char* unlocked) {
        return element + "r6 = r0\n" + element + "r7 = r0\nr1 = r6\nr1 += 4\ncall spin_lock\nr1 = " + unlocked +
               "\nr1 += 4\ncall spin_unlock\n" + end;
    };
    add("the lock of an element that is there", two("r6"));
    add("the lock of another lookup of an element that is there", two("r7"), F::other_lock);
    const auto reserved = [](const char* bytes, int at) {
        return "r1 = @ring\nr2 = " + std::string(bytes) + " ll\nr3 = 0\ncall ringbuf_reserve\nif r0 == 0 goto out\n" +
               fmt::format("*(u8 *)(r0 + {}) = 1\n", at) + "r1 = r0\nr2 = 0\ncall ringbuf_submit\n" + end;
    };
    add("a record that no ring has", reserved("0x80000008", 30000));
    add("a record of the low 32 bits", reserved("0x100000008", 7));
    add("a record of the low 32 bits, beyond", reserved("0x100000008", 8), F::out_of_record);
}

}  // namespace

std::vector<ObjectCase> object_cases() {
    std::vector<ObjectCase> all;
    const auto add = [&](std::string name, std::string text, Finding expected = F::none, P type = P::sched_cls,
                         A attach = {}, bool sleepable = false) {
        all.push_back({std::move(name), std::move(text), expected, type, attach, sleepable});
    };
    add_maps(add);
    add_sockets(add);
    add_locks(add);
    add_timers(add);
    add_callbacks(add);
    add_contexts(add);
    add_borders(add);
    return all;
}

}  // namespace anybpf::verifier::testing
