// SPDX-License-Identifier: Apache-2.0
// A small kernel's BTF for tests, from declarations that look like C: structs and unions (nothing anonymous), variables
// of each CPU and functions. A tracepoint is the function that its programs are called as, an operation the type of a
// pointer to a function.
#pragma once

#include <cctype>
#include <map>

#include "testing.hpp"

namespace anybpf::verifier::testing {

class Declarations {
  public:
    static std::shared_ptr<const btf::Btf> parse(std::string_view text) {
        Declarations all(text);
        while (!all.rest_.empty()) all.declaration();
        if (!all.percpu_.empty()) {
            all.builder_.begin_section(".data..percpu", 64);
            u32 offset = 0;
            for (const u32 variable : all.percpu_) all.builder_.add_section_variable(variable, offset, 8), offset += 8;
        }
        auto parsed = btf::Btf::parse(all.builder_.finish());
        EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message);
        return parsed ? *parsed : nullptr;
    }

  private:
    struct Type {
        u32 id = 0, bytes = 0;
    };
    struct Named {
        Type type;
        std::string name;
        u32 bits = 0;
    };

    explicit Declarations(std::string_view text) : rest_(text) {
        skip();
        const auto add = [&](const char* name, u32 bytes, btf::IntEncoding how) {
            types_[name] = {builder_.add_int(name, bytes, how), bytes};
        };
        add("int", 4, btf::IntEncoding::signed_);
        add("u32", 4, btf::IntEncoding::none);
        add("u64", 8, btf::IntEncoding::none);
        add("long", 8, btf::IntEncoding::signed_);
        add("char", 1, btf::IntEncoding::signed_);
        add("u8", 1, btf::IntEncoding::none);
        add("bool", 1, btf::IntEncoding::bool_);
        types_["void"] = {0, 0};
        types_["function"] = {builder_.add_pointer(builder_.begin_prototype(types_["int"].id)), 8};
    }

    void skip() {
        while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_[0]))) rest_.remove_prefix(1);
    }
    std::string word() {
        std::size_t end = 0;
        while (end < rest_.size() && (std::isalnum(static_cast<unsigned char>(rest_[end])) || rest_[end] == '_')) ++end;
        std::string out(rest_.substr(0, end));
        rest_.remove_prefix(end);
        skip();
        return out;
    }
    bool accept(std::string_view text) {
        if (!rest_.starts_with(text)) return false;
        rest_.remove_prefix(text.size());
        skip();
        return true;
    }
    void expect(std::string_view text) {
        if (accept(text)) return;
        ADD_FAILURE() << "expected '" << text << "' before: " << rest_.substr(0, 60);
        rest_ = {};
    }

    Named named() {
        Named out;
        accept("const ");
        std::string name = word();
        const bool is_union = name == "union";
        if (name == "struct" || is_union) {
            name = word();
            if (!types_.contains(name)) types_[name] = {builder_.add_forward(name, is_union), 0};
        }
        if (!types_.contains(name)) ADD_FAILURE() << "unknown type " << name;
        out.type = types_[name];
        while (accept("*")) out.type = {builder_.add_pointer(out.type.id), 8};
        out.name = word();
        std::vector<u32> counts;
        while (accept("[")) {
            const std::string count = word();
            counts.push_back(count.empty() ? 0 : static_cast<u32>(std::stoul(count)));
            expect("]");
        }
        for (std::size_t i = counts.size(); i-- > 0;)
            out.type = {builder_.add_array(out.type.id, types_["int"].id, counts[i]), out.type.bytes * counts[i]};
        return out;
    }

    void composite(bool is_union) {
        const std::string name = word();
        expect("{");
        std::vector<Named> members;
        // A struct may point to itself: its id comes after those of what it needs.
        const std::string_view start = rest_;
        u32 needed = 0;
        {
            Declarations probe(*this);
            probe.types_[name] = {1, 0};
            const u32 before = probe.builder_.next_id();
            while (!probe.accept("}")) probe.named(), probe.expect(";");
            needed = probe.builder_.next_id() - before;
        }
        rest_ = start;
        types_[name] = {builder_.next_id() + needed, 0};
        u32 bytes = 0, widest = 1;
        std::vector<u32> offsets;
        while (!accept("}")) {
            members.push_back(named());
            expect(";");
            const u32 size = members.back().type.bytes;
            const u32 align = size % 8 == 0 && size > 0 ? 8 : size % 4 == 0 && size > 0 ? 4 : 1;
            widest = std::max(widest, align);
            const u32 at = is_union ? 0 : (bytes + align - 1) / align * align;
            offsets.push_back(at);
            bytes = std::max(bytes, at + size);
        }
        bytes = (bytes + widest - 1) / widest * widest;
        types_[name] = {builder_.begin_composite(is_union ? btf::Kind::union_ : btf::Kind::struct_, name, bytes),
                        bytes};
        for (std::size_t i = 0; i < members.size(); ++i)
            builder_.add_member(members[i].name, members[i].type.id, offsets[i] * 8);
        expect(";");
    }

    void declaration() {
        if (accept("struct ") || rest_.starts_with("union ")) {
            const std::size_t brace = rest_.find_first_of("{;(");
            const bool is_union = accept("union ");
            if (brace != std::string_view::npos && rest_.find('{') < rest_.find(';')) return composite(is_union);
            ADD_FAILURE() << "functions begin with 'func'";
            rest_ = {};
            return;
        }
        if (accept("percpu ")) {
            const Named variable = named();
            percpu_.push_back(builder_.add_variable(variable.name, variable.type.id, true));
            expect(";");
            return;
        }
        const bool tracepoint = accept("tracepoint "), operation = !tracepoint && accept("operation ");
        if (!tracepoint && !operation) expect("func ");
        const Named function = named();
        expect("(");
        std::vector<Named> parameters;
        while (!accept(")")) {
            const Named one = named();
            if (one.name != "nothing") parameters.push_back(one);
            accept(",");
        }
        expect(";");
        const u32 prototype = builder_.begin_prototype(function.type.id);
        for (const Named& one : parameters) builder_.add_parameter(one.name, one.type.id);
        if (operation)
            types_[function.name] = {builder_.add_pointer(prototype), 8};
        else if (tracepoint)
            builder_.add_reference(btf::Kind::typedef_, "btf_trace_" + function.name, builder_.add_pointer(prototype));
        else
            builder_.add_reference(btf::Kind::func, function.name, prototype, 0);
    }

    std::string_view rest_;
    btf::Builder builder_;
    std::map<std::string, Type> types_;
    std::vector<u32> percpu_;
};

// What the tests' programs touch of a kernel, by the names that Linux 6.18 has for it.
inline std::shared_ptr<const btf::Btf> kernel_types() {
    static const auto types = Declarations::parse(R"(
        struct list_head { struct list_head *next; struct list_head *prev; };
        struct uid { int val; };
        struct cpumask { u64 bits[4]; };
        struct css_set { int count; };
        struct file { int flags; };
        struct mm_struct { u64 count; struct file *exe_file; };
        union which { struct mm_struct *pointer; int number; };
        struct task_struct {
            u64 flags; struct list_head tasks; int pid; char comm[16]; int *set_child_tid; struct mm_struct *mm;
            struct cpumask *cpus_ptr; struct css_set *cgroups; struct task_struct *real_parent;
            struct task_struct *group_leader; union which either; struct list_head lists[3];
        };
        struct task_struct__safe_rcu {
            struct cpumask *cpus_ptr; struct css_set *cgroups; struct task_struct *real_parent;
            struct task_struct *group_leader;
        };
        struct mm_struct__safe_rcu_or_null { struct file *exe_file; };
        struct seq_file { char *buf; u64 size; };
        struct bpf_iter_meta { struct seq_file *seq; u64 session_id; u64 seq_num; };
        struct bpf_iter_meta__safe_trusted { struct seq_file *seq; };
        struct sk_buff { u32 len; u8 *data; };
        struct sock_common { u64 skc_family; };
        struct sock { struct sock_common __sk_common; u64 sk_pacing_rate; };
        struct inet_connection_sock { struct sock sk; u64 icsk_ca_priv[13]; };
        struct tcp_sock {
            struct inet_connection_sock inet_conn; u32 snd_cwnd; u32 snd_ssthresh; u32 snd_cwnd_cnt; u32 snd_cwnd_stamp;
            u32 app_limited; u32 rcv_nxt; struct sk_buff *highest_sack;
        };
        struct tcp_timewait_sock { u64 state; };
        struct udp6_sock { struct sock sk; u64 *inet6; };
        struct bpf_map {
            u64 *owner; struct bpf_map *inner_map_meta; void *security; u32 map_type; u32 key_size; u32 value_size;
            u32 max_entries;
        };
        struct bpf_array { struct bpf_map map; u32 elem_size; u32 index_mask; };
        struct bpf_htab { struct bpf_map map; u32 n_buckets; u32 elem_size; };
        struct bpf_ringbuf { u64 mask; };
        struct bpf_ringbuf_map { struct bpf_map map; struct bpf_ringbuf *rb; };
        struct net_device { u64 flags; u32 ifindex; };
        struct nf_hook_state { u8 hook; u8 pf; struct net_device *in; struct net_device *out; };
        struct bpf_dummy_ops_state { int val; };
        operation int dummy_of(struct bpf_dummy_ops_state *cb__nullable);
        func int bpf_dummy_ops__test_1(struct bpf_dummy_ops_state *cb__nullable);
        struct bpf_dummy_ops { dummy_of test_1; u64 flags; };
        struct bpf_struct_ops_bpf_dummy_ops { struct bpf_dummy_ops data; };
        operation u32 ssthresh_of(struct sock *sk);
        struct tcp_congestion_ops { ssthresh_of ssthresh; u64 flags; };
        struct bpf_struct_ops_tcp_congestion_ops { struct tcp_congestion_ops data; };
        struct path { u64 mnt; };
        struct inode { int mode; };
        struct rq { u64 nr_running; };
        struct pt_regs { u64 r15; };
        percpu struct rq runqueues;
        percpu int numa_node;
        func int bpf_lsm_file_open(struct file *file);
        struct bpf_iter_num { u64 opaque; };
        struct bpf_iter_task { u64 opaque[3]; };
        struct bpf_dynptr { u64 opaque[2]; };
        struct xdp_md { u32 data; u32 data_end; };
        struct xdp_buff { void *data; void *data_end; };
        struct __sk_buff { u32 len; void *sk; };
        struct bpf_cpumask { struct cpumask mask; };
        func void bpf_rcu_read_lock(void nothing);
        func void bpf_rcu_read_unlock(void nothing);
        func void bpf_preempt_disable(void nothing);
        func void bpf_preempt_enable(void nothing);
        func void bpf_local_irq_save(u64 *flags__irq_flag);
        func void bpf_local_irq_restore(u64 *flags__irq_flag);
        func struct task_struct *bpf_task_acquire(struct task_struct *p);
        func void bpf_task_release(struct task_struct *p);
        func struct task_struct *bpf_task_from_pid(int pid);
        func void *bpf_cast_to_kern_ctx(void *obj);
        func void *bpf_rdonly_cast(const void *obj__ign, u32 btf_id__k);
        func int bpf_xdp_metadata_rx_timestamp(struct xdp_md *ctx, u64 *timestamp);
        func struct bpf_cpumask *bpf_cpumask_create(void nothing);
        func void bpf_cpumask_release(struct bpf_cpumask *cpumask);
        func void bpf_cpumask_set_cpu(u32 cpu, struct bpf_cpumask *cpumask);
        func u32 bpf_cpumask_first(struct cpumask *cpumask);
        func int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end);
        func int *bpf_iter_num_next(struct bpf_iter_num *it);
        func void bpf_iter_num_destroy(struct bpf_iter_num *it);
        func int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task__nullable, u32 flags);
        func struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it);
        func void bpf_iter_task_destroy(struct bpf_iter_task *it);
        func int bpf_dynptr_from_xdp(struct xdp_md *x, u64 flags, struct bpf_dynptr *ptr__uninit);
        func int bpf_dynptr_from_skb(struct __sk_buff *s, u64 flags, struct bpf_dynptr *ptr__uninit);
        func void *bpf_dynptr_slice(struct bpf_dynptr *p, u32 offset, void *buffer__opt, u32 buffer__szk);
        func void *bpf_dynptr_slice_rdwr(struct bpf_dynptr *p, u32 offset, void *buffer__opt, u32 buffer__szk);
        func u32 bpf_dynptr_size(struct bpf_dynptr *p);
        func bool bpf_dynptr_is_null(struct bpf_dynptr *p);
        func int bpf_dynptr_adjust(struct bpf_dynptr *p, u32 start, u32 end);
        func int bpf_dynptr_clone(struct bpf_dynptr *p, struct bpf_dynptr *clone__uninit);
        func void bpf_throw(u64 cookie);
        struct bpf_list_head { u64 opaque[2]; };
        struct bpf_list_node { u64 opaque[3]; };
        struct bpf_rb_root { u64 opaque[2]; };
        struct bpf_rb_node { u64 opaque[4]; };
        struct bpf_res_spin_lock { u32 val; };
        struct bpf_wq { u64 opaque[2]; };
        func void *bpf_obj_new_impl(u64 local_type_id__k, void *meta__ign);
        func void *bpf_percpu_obj_new_impl(u64 local_type_id__k, void *meta__ign);
        func void bpf_obj_drop_impl(void *p__alloc, void *meta__ign);
        func void *bpf_refcount_acquire_impl(void *p__refcounted_kptr, void *meta__ign);
        func int bpf_list_push_front_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta__ign, u64 off);
        func int bpf_rbtree_add_impl(struct bpf_rb_root *root, struct bpf_rb_node *node, function less, void *meta__ign, u64 off);
        func struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *root, struct bpf_rb_node *node);
        func int bpf_res_spin_lock(struct bpf_res_spin_lock *lock);
        func void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock);
        func int bpf_wq_init(struct bpf_wq *wq, void *p__map, u32 flags);
        func int bpf_wq_set_callback_impl(struct bpf_wq *wq, function callback_fn, u32 flags, void *aux__prog);
        func int bpf_arena_reserve_pages(void *p__map, void *ptr__ign, u32 page_cnt);
        func void *bpf_arena_alloc_pages(void *p__map, void *addr__ign, u32 page_cnt, int node_id, u64 flags);
        func void bpf_arena_free_pages(void *p__map, void *ptr__ign, u32 page_cnt);
        func int bpf_copy_from_user_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign, u64 flags);
        func int bpf_get_file_xattr(struct file *file);
        struct tail { int count; struct list_head heads[]; };
        tracepoint void sched_switch(void *data, bool preempt, struct task_struct *prev, struct task_struct *next, u32 state);
        tracepoint void kfree_skb(void *data, struct sk_buff *skb, void *location, int reason, struct sock *rx_sk);
        func int bpf_iter_tcp(struct bpf_iter_meta *meta, struct sock_common *sk_common, u32 uid);
        func int bpf_iter_task(struct bpf_iter_meta *meta, struct task_struct *task);
        func int vfs_read(struct file *file, char *buf, u64 count);
    )");
    return types;
}

inline std::string kfunc(std::string_view name) { return fmt::format("call kfunc#{{f:{}}}\n", name); }

// Replaces {o:task_struct.pid} by the member's offset, {o:task_struct.pid+4} by one behind it, {f:name} by a function's
// type, {v:name} by a variable's.
inline std::string with_types(std::string text, const btf::Btf& btf) {
    for (std::size_t open = 0; (open = text.find('{', open)) != std::string::npos;) {
        const std::size_t close = text.find('}', open);
        const std::string what = text.substr(open + 3, close - open - 3);
        std::optional<u32> value;
        if (text[open + 1] == 'o') {
            const std::size_t dot = what.find('.'), plus = std::min(what.find('+'), what.size());
            const auto owner = btf.find(what.substr(0, dot), btf::Kind::struct_);
            const auto member = owner ? btf.find_member(*owner, what.substr(dot + 1, plus - dot - 1)) : std::nullopt;
            const u32 more = plus < what.size() ? static_cast<u32>(std::stoul(what.substr(plus + 1))) : 0;
            if (member) value = member->bit_offset / 8 + more;
        } else {
            value = btf.find(what, text[open + 1] == 'v'   ? btf::Kind::var
                                   : text[open + 1] == 's' ? btf::Kind::struct_
                                                           : btf::Kind::func);
        }
        EXPECT_TRUE(value.has_value()) << "no " << what;
        text.replace(open, close - open + 1, std::to_string(value.value_or(0)));
    }
    return text;
}

}  // namespace anybpf::verifier::testing
