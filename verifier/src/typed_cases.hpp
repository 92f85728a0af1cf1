// SPDX-License-Identifier: Apache-2.0
// Programs that touch what the kernel's BTF describes, each with its verdict: judged with a small kernel's types by
// typed_test.cpp, and with the running kernel's by live_typed_test.cpp, which asks that kernel, too.
#pragma once

#include "border_cases.hpp"

namespace anybpf::verifier::testing {

struct TypedCase {
    std::string name;
    std::string text;
    Finding expected = Finding::none;
    std::string attach = "btf_trace_sched_switch";  // empty: a kprobe
    bool gpl = true;
    bool sleepable = false;
    abi::ProgType type = abi::ProgType::tracing;
    // Of the function that the text has behind its label `f`: the arguments by letters (i: int, c: struct xdp_md *, s:
    // struct of 8 bytes *, n: the same, not null, x: void * with arg:ctx, v: void *, and with arg:untrusted
    // t: struct task_struct *, u: struct of 8 bytes *, w: int *), and whether it is global. Empty:
    // it has none.
    std::string function = {};
    // Where the function begins with E it is an exception callback, and the last two instructions are it; of its other
    // letters L is for a static one, T for a second tag, M for a tag that names another.
    bool kernel_accepts = false;  // although we do not: see docs/differences.md
};

// BTF for a program of two functions, of which the second takes such arguments; a capital letter first: it returns
// nothing.
inline void describe_function(program::Program& program, std::string_view arguments) {
    btf::Builder builder;
    const u32 number = builder.add_int("int", 4, btf::IntEncoding::signed_);
    const u32 pair = builder.begin_composite(btf::Kind::struct_, "pair", 8);
    builder.add_member("a", number, 0);
    builder.add_member("b", number, 32);
    const u32 context = builder.begin_composite(btf::Kind::struct_, "xdp_md", 4);
    builder.add_member("data", number, 0);
    const u32 to_pair = builder.add_pointer(pair), to_context = builder.add_pointer(context),
              to_void = builder.add_pointer(0), to_number = builder.add_pointer(number);
    const u32 task = builder.begin_composite(btf::Kind::struct_, "task_struct", 4);
    builder.add_member("of_the_program", number, 0);
    const u32 to_task = builder.add_pointer(task);
    const u32 entry = builder.begin_prototype(number);
    builder.add_parameter("ctx", to_context);
    const bool callback = arguments.starts_with('E');
    if (callback) arguments.remove_prefix(1);
    const auto take = [&](char letter) {
        if (!arguments.starts_with(letter)) return false;
        arguments.remove_prefix(1);
        return true;
    };
    const bool local = take('L'), twice = take('T'), missing = take('M');
    const bool nothing = arguments.starts_with('V');
    if (nothing) arguments.remove_prefix(1);
    const u32 prototype = builder.begin_prototype(nothing ? 0 : number);
    for (const char letter : arguments)
        builder.add_parameter("a", letter == 'i'                                     ? number
                                   : letter == 'c'                                   ? to_context
                                   : letter == 's' || letter == 'n' || letter == 'u' ? to_pair
                                   : letter == 't'                                   ? to_task
                                   : letter == 'w'                                   ? to_number
                                                                                     : to_void);
    const u32 main = builder.add_reference(btf::Kind::func, "main", entry, 1);
    const u32 function = builder.add_reference(btf::Kind::func, "f", prototype, local ? 0 : 1);
    if (callback) builder.add_tag(missing ? "exception_callback:g" : "exception_callback:f", main, UINT32_MAX);
    if (twice) builder.add_tag("exception_callback:g", main, UINT32_MAX);
    for (u32 i = 0; i < arguments.size(); ++i)
        for (const auto& [letter, tag] : {std::pair{'n', "arg:nonnull"},
                                          {'x', "arg:ctx"},
                                          {'t', "arg:untrusted"},
                                          {'u', "arg:untrusted"},
                                          {'w', "arg:untrusted"}})
            if (arguments[i] == letter) builder.add_tag(tag, function, i);
    auto parsed = btf::Btf::parse(builder.finish());
    EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message);
    if (!parsed) return;
    program.btf = *parsed;
    u32 start = callback ? static_cast<u32>(program.insns.size()) - 2 : 0;
    for (u32 pc = 0; pc < program.insns.size(); pc += isa::slots(program.insns[pc]))
        if (program.insns[pc].code == 0x85 && program.insns[pc].src == 1)
            start = static_cast<u32>(i64{pc} + 1 + program.insns[pc].imm);
    program.funcs = {{0, main}, {start, function}};
}

inline program::Program program_of(const TypedCase& one, std::shared_ptr<const btf::Btf> types) {
    program::Program program = program_of(with_types(one.text, *types), one.type);
    program.gpl_compatible = one.gpl;
    program.sleepable = one.sleepable;
    program.kernel_btf = types;
    if (one.type == abi::ProgType::netfilter) program.expected_attach_type = abi::AttachType::netfilter;
    if (!one.function.empty()) describe_function(program, one.function);
    if (one.attach.empty()) return program;
    using abi::AttachType;
    if (one.type == abi::ProgType::lsm) {
        program.expected_attach_type = AttachType::lsm_mac;
        program.attach_btf_id = types->find(one.attach, btf::Kind::func).value_or(0);
        return program;
    }
    if (one.type == abi::ProgType::struct_ops) {
        const std::size_t dot = one.attach.find('.');
        program.attach_btf_id = types->find(one.attach.substr(0, dot), btf::Kind::struct_).value_or(0);
        const btf::Type operations = types->type(program.attach_btf_id);
        for (u32 i = 0; i < operations.vlen; ++i)
            if (types->member(operations, i).name == one.attach.substr(dot + 1))
                program.expected_attach_type = static_cast<AttachType>(i);
        return program;
    }
    const bool tracepoint = one.attach.starts_with("btf_trace_"), iterator = one.attach.starts_with("bpf_iter_");
    program.expected_attach_type = tracepoint ? AttachType::trace_raw_tp
                                   : iterator ? AttachType::trace_iter
                                              : AttachType::trace_fentry;
    const auto id = types->find(one.attach, tracepoint ? btf::Kind::typedef_ : btf::Kind::func);
    program.attach_btf_id = id.value_or(0);
    return program;
}

inline void typed_pointers(const auto& add) {
    using F = Finding;
    // r1 = the second argument, a trusted pointer to a task
    const std::string prev = "r1 = *(u64 *)(r1 + 8)\n", done = "\nr0 = 0\nexit";
    add({"arguments", "r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\nr4 = *(u32 *)(r1 + 24)" + done});
    add({"a part of a number", "r2 = *(u8 *)(r1 + 0)" + done});
    add({"a part of a pointer", "r2 = *(u32 *)(r1 + 8)" + done, F::context_argument});
    add({"between arguments", "r2 = *(u32 *)(r1 + 4)" + done, F::context_argument});
    add({"behind the arguments", "r2 = *(u64 *)(r1 + 32)" + done, F::context_argument});
    add({"before the arguments", "r2 = *(u64 *)(r1 - 8)" + done, F::context_argument});
    add({"arguments are read only", "r2 = 0\n*(u64 *)(r1 + 0) = r2" + done, F::context_write});
    add({"the context moved", "r1 += 8\nr2 = *(u64 *)(r1 + 0)" + done, F::context_offset});
    add({"any result", "r0 = *(u32 *)(r1 + 24)\nexit"});
    add({"a member", prev + "r2 = *(u32 *)(r1 + {o:task_struct.pid})" + done});
    add({"a signed member", prev + "r2 = *(s32 *)(r1 + {o:task_struct.pid})" + done});
    add({"beyond a member", prev + "r2 = *(u64 *)(r1 + {o:task_struct.pid})" + done, F::typed_field});
    add({"some of an array", prev + "r2 = *(u64 *)(r1 + {o:task_struct.comm})" + done});
    add({"beyond the struct", prev + "r2 = *(u64 *)(r1 + 30000)" + done, F::typed_field});
    add({"a nested struct's pointer",
         prev + "r2 = *(u64 *)(r1 + {o:task_struct.tasks})\nr2 = *(u64 *)(r2 + 8)" + done});
    add({"a part of a nested pointer", prev + "r2 = *(u32 *)(r1 + {o:task_struct.tasks})" + done, F::typed_field});
    add({"by a constant", prev + "r1 += {o:task_struct.pid}\nr2 = *(u32 *)(r1 + 0)" + done});
    add({"before the object", prev + "r1 += -8\nr2 = *(u64 *)(r1 + 0)" + done, F::typed_offset});
    add({"by a number",
         prev + "r2 = *(u32 *)(r1 + {o:task_struct.pid})\nr2 &= 7\nr1 += r2\nr2 = *(u8 *)(r1 + 0)" + done,
         F::typed_offset});
    add({"written", prev + "r2 = 0\n*(u32 *)(r1 + {o:task_struct.pid}) = r2" + done, F::typed_write});
    add({"an atomic operation", prev + "r2 = 0\nlock *(u64 *)(r1 + 0) += r2" + done, F::atomic_region});
    add({"a chain", prev +
                        "r2 = *(u64 *)(r1 + {o:task_struct.real_parent})\n"
                        "r2 = *(u64 *)(r2 + {o:task_struct.real_parent})\nr2 = *(u64 *)(r2 + {o:task_struct.mm})\n"
                        "r2 = *(u64 *)(r2 + {o:mm_struct.exe_file})\nr2 = *(u8 *)(r2 + 0)" +
                        done});
    add({"an address of a number",
         prev + "r2 = *(u64 *)(r1 + {o:task_struct.set_child_tid})\nr2 = *(u32 *)(r2 + 8)" + done});
    add({"an address of a number, moved", prev +
                                              "r2 = *(u64 *)(r1 + {o:task_struct.set_child_tid})\nr3 = *(u32 *)(r2 + "
                                              "0)\nr2 += r3\nr2 = *(u64 *)(r2 + 3)" +
                                              done});
    add({"an address of a number, written",
         prev + "r2 = *(u64 *)(r1 + {o:task_struct.set_child_tid})\nr3 = 0\n*(u32 *)(r2 + 0) = r3" + done,
         F::memory_read_only});
    add({"trusted is not null", prev + "if r1 != 0 goto out\nr2 = *(u64 *)(r2 + 0)\nout: r0 = 0\nexit"});
    add({"plain may be null",
         prev + "r2 = *(u64 *)(r1 + {o:task_struct.mm})\nif r2 != 0 goto out\nr2 = *(u64 *)(r3 + 0)\nout: r0 = 0\nexit",
         F::uninitialized_register});
    add({"saved and restored",
         prev + "*(u64 *)(r10 - 8) = r1\nr1 = *(u64 *)(r10 - 8)\nr2 = *(u32 *)(r1 + {o:task_struct.pid})" + done});
    add({"null is not looked at", "r1 = *(u64 *)(r1 + 24)\nr2 = *(u32 *)(r1 + 0)" + done, F::maybe_null,
         "btf_trace_kfree_skb"});
    add({"null, moved", "r1 = *(u64 *)(r1 + 24)\nr1 += 4" + done, F::arithmetic_maybe_null, "btf_trace_kfree_skb"});
    add({"null is looked at",
         "r1 = *(u64 *)(r1 + 24)\nr6 = r1\nif r1 == 0 goto out\nr2 = *(u8 *)(r6 + 0)\nout: r0 = 0\nexit", F::none,
         "btf_trace_kfree_skb"});
    add({"another licence", "r0 = 0\nexit", F::none, "btf_trace_sched_switch", false});
    add({"another licence, a member", prev + "r2 = *(u64 *)(r1 + 0)" + done, F::typed_gpl_only,
         "btf_trace_sched_switch", false});
    add({"an iterator",
         "r2 = *(u64 *)(r1 + 0)\nr2 = *(u64 *)(r2 + {o:bpf_iter_meta.seq})\nr2 = *(u64 *)(r2 + 0)\n"
         "r3 = *(u64 *)(r1 + 8)\nif r3 == 0 goto out\nr3 = *(u32 *)(r3 + {o:task_struct.pid})\nout: r0 = 0\nexit",
         F::none, "bpf_iter_task"});
    add({"an iterator's object", "r3 = *(u64 *)(r1 + 8)\nr3 = *(u32 *)(r3 + {o:task_struct.pid})" + done, F::maybe_null,
         "bpf_iter_task"});
    add({"an iterator's result", "r0 = 2\nexit", F::return_range, "bpf_iter_task"});
    add({"an iterator over nothing", "r0 = 0\nexit", F::bad_attach_target, "bpf_iter_nothing"});
    const std::string task = "call get_current_task_btf\nr1 = r0\n", print = "call trace_printk\nr0 = 0\nexit";
    for (const std::string attach : {"btf_trace_sched_switch", ""}) {
        const std::string kind = attach.empty() ? " in a kprobe" : "";
        const auto also = [&](std::string name, const std::string& text, F expected = F::none) {
            add({name + kind, text, expected, attach, true, false,
                 attach.empty() ? abi::ProgType::kprobe : abi::ProgType::tracing});
        };
        also("a task as memory", task + "r1 += {o:task_struct.pid}\nr2 = 4\n" + print);
        also("a part of a task as memory", task + "r1 += {o:task_struct.comm}\nr2 = 7\n" + print);
        also("a task as memory beyond a member", task + "r1 += {o:task_struct.pid}\nr2 = 8\n" + print, F::typed_field);
        also("a task as memory before it", task + "r1 += -8\nr2 = 4\n" + print, F::typed_offset);
        also("a task as memory to write",
             task + "r1 += {o:task_struct.comm}\nr2 = 8\ncall get_current_comm\nr0 = 0\nexit", F::wrong_argument);
        also("what a task points to as memory",
             task + "r1 = *(u64 *)(r1 + {o:task_struct.mm})\nif r1 == 0 goto +2\nr2 = 4\n" + print, F::wrong_argument);
    }
    add({"the current task", "call get_current_task_btf\nr0 = *(u32 *)(r0 + {o:task_struct.pid})\nr0 = 0\nexit",
         F::none, "", true, false, abi::ProgType::kprobe});
    add({"one instruction for two kinds of memory",
         "call get_current_task_btf\nr6 = r0\ncall get_prandom_u32\n*(u64 *)(r10 - 8) = 0\nif r0 == 0 goto +2\nr6 = "
         "r10\nr6 += -8\n"
         "r0 = *(u64 *)(r6 + 0)\nr0 = 0\nexit",
         F::mixed_regions, "", true, false, abi::ProgType::kprobe});
}

// Addresses of variables and functions, and helpers that take objects of the kernel's.
inline void typed_helpers(const auto& add) {
    using F = Finding;
    const std::string prev = "r6 = *(u64 *)(r1 + 8)\n", done = "\nr0 = 0\nexit";
    const std::string rq = "r1 = btf[id:{v:runqueues}] ll\n", node = "r1 = btf[id:{v:numa_node}] ll\n";
    add({"another licence for a hook", "r0 = 0\nexit", F::program_gpl_only, "bpf_lsm_file_open", false, false,
         abi::ProgType::lsm});
    add({"a hook's argument", "r1 = *(u64 *)(r1 + 0)\nr1 = *(u8 *)(r1 + 0)\nr0 = -1\nexit", F::none,
         "bpf_lsm_file_open", true, false, abi::ProgType::lsm});
    add({"a hook's result", "r0 = 1\nexit", F::return_range, "bpf_lsm_file_open", true, false, abi::ProgType::lsm});
    add({"a helper whose contract is not known",
         "r1 = *(u64 *)(r1 + 0)\nr2 = r10\nr2 += -8\nr3 = 8\ncall ima_file_hash\nr0 = 0\nexit", F::helper_unavailable,
         "bpf_lsm_file_open", true, true, abi::ProgType::lsm});
    add({"no symbol", "r1 = btf[id:1] ll" + done, F::unknown_symbol});
    add({"a variable of each CPU, read", rq + "r2 = *(u64 *)(r1 + 0)" + done, F::typed_elsewhere});
    add({"this CPU's", rq + "call this_cpu_ptr\nr1 = *(u8 *)(r0 + 0)" + done});
    add({"a CPU's", rq + "r2 = 0\ncall per_cpu_ptr\nif r0 == 0 goto out\nr1 = *(u8 *)(r0 + 0)\nout: r0 = 0\nexit"});
    add({"a CPU's, perhaps", rq + "r2 = 0\ncall per_cpu_ptr\nr1 = *(u8 *)(r0 + 0)" + done, F::maybe_null});
    add({"a number of this CPU's", node + "call this_cpu_ptr\nr1 = *(u32 *)(r0 + 0)" + done});
    add({"beyond a number of this CPU's", node + "call this_cpu_ptr\nr1 = *(u64 *)(r0 + 0)" + done, F::out_of_record});
    add({"a number of this CPU's, written", node + "call this_cpu_ptr\n*(u32 *)(r0 + 0) = 1" + done,
         F::memory_read_only});
    add({"a task as a variable of each CPU", prev + "r1 = r6\ncall this_cpu_ptr" + done, F::wrong_argument});
    add({"a function's address", "r1 = btf[id:{f:vfs_read}] ll\nr0 = 0\nif r1 == 0 goto out\nr0 = 1\nout: exit"});
    add({"a function's code", "r1 = btf[id:{f:vfs_read}] ll\nr2 = *(u8 *)(r1 + 0)" + done, F::out_of_record});
    const std::string stack = "r2 = r10\nr2 += -16\nr3 = 16\nr4 = 0\n";
    add({"a task's stack", prev + "r1 = r6\n" + stack + "call get_task_stack" + done});
    add({"the parent's stack",
         prev + "r1 = *(u64 *)(r6 + {o:task_struct.real_parent})\n" + stack + "call get_task_stack" + done});
    add({"the stack of an mm", prev + "r1 = *(u64 *)(r6 + {o:task_struct.mm})\n" + stack + "call get_task_stack" + done,
         F::typed_argument});
    add({"the stack inside a task", prev + "r1 = r6\nr1 += 8\n" + stack + "call get_task_stack" + done,
         F::typed_argument});
    add({"the stack of a number", prev + "r1 = 0\n" + stack + "call get_task_stack" + done, F::wrong_argument});
    add({"the stack of a variable of each CPU", rq + stack + "call get_task_stack" + done, F::typed_untrusted});
    add({"a task's registers", prev + "r1 = r6\ncall task_pt_regs\nr1 = *(u64 *)(r0 + 0)" + done});
    add({"printing for a reader",
         "r1 = *(u64 *)(r1 + 0)\nr1 = *(u64 *)(r1 + {o:bpf_iter_meta.seq})\n*(u64 *)(r10 - 8) = 0x6c6c6568\nr2 = "
         "r10\nr2 += -8\nr3 = 5\n"
         "call seq_write" +
             done,
         F::none, "bpf_iter_task"});
    add({"printing outside of an iterator", prev + "r1 = r6\nr2 = r10\nr3 = 0\ncall seq_write" + done,
         F::helper_program_type});
    add({"a path in a tracepoint", prev + "r1 = r6\nr2 = r10\nr2 += -8\nr3 = 8\ncall d_path" + done, F::helper_attach});
}

// Calls of the kernel's functions.
inline void kfunc_calls(const auto& add) {
    using F = Finding;
    const std::string prev = "r6 = *(u64 *)(r1 + 8)\n", done = "r0 = 0\nexit", out = "out: r0 = 0\nexit";
    const std::string lock = kfunc("bpf_rcu_read_lock"), unlock = kfunc("bpf_rcu_read_unlock");
    const std::string acquire = "r1 = r6\n" + kfunc("bpf_task_acquire"), release = kfunc("bpf_task_release");
    add({"no kernel function", "call kfunc#1\n" + done, F::unknown_kfunc});
    add({"a function that is none for programs", "r2 = 0\nr3 = 0\n" + kfunc("vfs_read") + done, F::unknown_kfunc});
    add({"another licence calls", lock + unlock + done, F::kfunc_gpl_only, "btf_trace_sched_switch", false});
    add({"a kernel function in a kprobe", prev + "r1 = 1\n" + kfunc("bpf_task_from_pid") + done, F::kfunc_program_type,
         "", true, false, abi::ProgType::kprobe});
    add({"RCU", lock + unlock + done});
    add({"RCU in RCU", lock + lock + unlock + unlock + done, F::section_nested});
    add({"RCU to the end", lock + done, F::section_open});
    add({"RCU on one way", prev + "if r6 == 0 goto +1\n" + lock + done, F::section_open});
    add({"no RCU to leave", unlock + done, F::section_unmatched});
    const std::string off = kfunc("bpf_preempt_disable"), on = kfunc("bpf_preempt_enable");
    add({"preemption off", off + off + on + on + done});
    add({"preemption off to the end", off + off + on + done, F::section_open});
    add({"preemption on", on + done, F::section_unmatched});
    const auto irq = [](int at, const char* what) { return fmt::format("r1 = r10\nr1 += {}\n", at) + kfunc(what); };
    const auto save = [&](int at) { return irq(at, "bpf_local_irq_save"); };
    const auto restore = [&](int at) { return irq(at, "bpf_local_irq_restore"); };
    add({"interrupts off", save(-8) + restore(-8) + done});
    add({"interrupts off twice", save(-8) + save(-16) + restore(-16) + restore(-8) + done});
    add({"interrupts on in the wrong order", save(-8) + save(-16) + restore(-8) + restore(-16) + done,
         F::interrupts_order});
    add({"interrupts off to the end", save(-8) + done, F::section_open});
    add({"interrupts saved over themselves", save(-8) + save(-8) + done, F::interrupts_order});
    add({"interrupt flags read", save(-8) + "r1 = *(u64 *)(r10 - 8)\n" + restore(-8) + done, F::object_touched});
    add({"interrupt flags overwritten", save(-8) + "*(u64 *)(r10 - 8) = 0\n" + restore(-8) + done,
         F::interrupts_order});
    add({"interrupt flags between slots", save(-12) + done, F::object_place});
    add({"a task", prev + acquire + "if r0 == 0 goto out\nr1 = r0\n" + release + out});
    add({"a task that is kept", prev + acquire + done, F::reference_leak});
    add({"a task released twice",
         prev + acquire + "if r0 == 0 goto out\nr7 = r0\nr1 = r0\n" + release + "r1 = r7\n" + release + out,
         F::kfunc_argument});
    add({"a task that may be null released", prev + acquire + "r1 = r0\n" + release + out, F::maybe_null});
    add({"a task that was not acquired", "r1 = *(u64 *)(r1 + 8)\n" + release + done, F::kfunc_release});
    add({"an acquired task read",
         prev + acquire + "if r0 == 0 goto out\nr6 = *(u32 *)(r0 + {o:task_struct.pid})\nr1 = r0\n" + release + out});
    add({"the parent acquired", "r6 = *(u64 *)(r1 + 8)\nr6 = *(u64 *)(r6 + {o:task_struct.real_parent})\n" + acquire +
                                    "if r0 == 0 goto out\nr1 = r0\n" + release + out});
    add({"an mm acquired", "r6 = *(u64 *)(r1 + 8)\nr6 = *(u64 *)(r6 + {o:task_struct.mm})\n" + acquire + done,
         F::typed_untrusted});
    add({"a number acquired", "r6 = 1\n" + acquire + done, F::kfunc_argument});
    add({"null acquired", "r6 = 0\n" + acquire + done, F::maybe_null});
    add({"a task by number",
         "r1 = 1\n" + kfunc("bpf_task_from_pid") + "if r0 == 0 goto out\nr1 = r0\n" + release + out});
    add({"a mask", kfunc("bpf_cpumask_create") + "if r0 == 0 goto out\nr6 = r0\nr1 = 1\nr2 = r0\n" +
                       kfunc("bpf_cpumask_set_cpu") + "r1 = r6\n" + kfunc("bpf_cpumask_first") + "r1 = r6\n" +
                       kfunc("bpf_cpumask_release") + out});
    add({"a mask that may be null",
         kfunc("bpf_cpumask_create") + "r1 = 1\nr2 = r0\n" + kfunc("bpf_cpumask_set_cpu") + done, F::maybe_null});
    add({"a task's mask", prev + "r1 = *(u64 *)(r6 + {o:task_struct.cpus_ptr})\n" + kfunc("bpf_cpumask_first") + done});
    add({"a cast", prev + "r1 = r6\nr2 = {s:mm_struct}\n" + kfunc("bpf_rdonly_cast") +
                       "r1 = *(u64 *)(r0 + {o:mm_struct.exe_file})\n" + done});
    add({"a cast is not trusted",
         prev + "r1 = r6\nr2 = {s:task_struct}\n" + kfunc("bpf_rdonly_cast") + "r6 = r0\n" + acquire + done,
         F::typed_untrusted});
    TypedCase context{"a context of which nobody says what it is", kfunc("bpf_cast_to_kern_ctx") + done,
                      F::kfunc_unsupported, ""};
    context.type = abi::ProgType::sk_msg, context.kernel_accepts = true;
    add(context);
    add({"a cast to nothing",
         prev + "r1 = r6\nr2 = 0\n" + kfunc("bpf_rdonly_cast") + "r1 = *(u64 *)(r0 + 9)\n" + done});
    add({"a cast to a number", prev + "r1 = r6\nr2 = 1\n" + kfunc("bpf_rdonly_cast") + done, F::kfunc_argument});
    add({"a cast to whatever", "r2 = *(u64 *)(r1 + 0)\n" + kfunc("bpf_rdonly_cast") + done, F::size_not_constant});
    add({"what the device knows", "r2 = r10\nr2 += -8\n" + kfunc("bpf_xdp_metadata_rx_timestamp") + done,
         F::kfunc_device, "", true, false, abi::ProgType::xdp});
    add({"the context inside", kfunc("bpf_cast_to_kern_ctx") + "r1 = *(u64 *)(r0 + 0)\n" + done, F::none, "", true,
         false, abi::ProgType::xdp});
    add({"a function that sleeps",
         "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\nr4 = 0\n" + kfunc("bpf_copy_from_user_str") + done, F::kfunc_sleepable});
}

// Loops over what the kernel counts.
inline void iterators(const auto& add) {
    using F = Finding;
    const std::string done = "r0 = 0\nexit", it = "r1 = r10\nr1 += -8\n";
    const std::string begin = it + "r2 = 1\nr3 = 5\n" + kfunc("bpf_iter_num_new");
    const std::string next = it + kfunc("bpf_iter_num_next"), end = it + kfunc("bpf_iter_num_destroy");
    const std::string sum = begin + "r6 = 0\nagain: " + next +
                            "if r0 == 0 goto last\nr1 = *(u32 *)(r0 + 0)\nr6 += r1\ngoto again\nlast: " + end;
    add({"a loop of numbers", sum + done});
    add({"a loop of numbers, begun and ended", begin + end + done});
    add({"a loop that is not ended", begin + done, F::reference_leak});
    add({"a loop that is not begun", next + done, F::iterator_missing});
    add({"a loop begun twice", begin + begin + end + done, F::iterator_twice});
    add({"a loop ended twice", begin + end + end + done, F::iterator_missing});
    add({"a loop, used up, again", sum + begin + end + done});
    add({"an element that may be null", begin + next + "r1 = *(u32 *)(r0 + 0)\n" + end + done, F::not_a_pointer});
    add({"an element, written", begin + next + "if r0 == 0 goto last\n*(u32 *)(r0 + 0) = 1\nlast: " + end + done,
         F::memory_read_only});
    add({"a loop's memory read", begin + "r1 = *(u64 *)(r10 - 8)\n" + end + done, F::object_touched});
    add({"a loop's memory overwritten", begin + "*(u64 *)(r10 - 8) = 0\n" + end + done, F::iterator_missing});
    add({"loops in loops", begin + "r6 = 0\nouter: " + next +
                               "if r0 == 0 goto last\nr1 = r10\nr1 += -16\nr2 = 0\nr3 = 9\n" +
                               kfunc("bpf_iter_num_new") + "inner: r1 = r10\nr1 += -16\n" + kfunc("bpf_iter_num_next") +
                               "if r0 == 0 goto over\nr6 += 1\ngoto inner\nover: r1 = r10\nr1 += -16\n" +
                               kfunc("bpf_iter_num_destroy") + "goto outer\nlast: " + end + done});
    add({"a loop around loops does not end",
         "again: " + begin + next + end + "goto again\n",
         F::infinite_loop,
         "btf_trace_sched_switch",
         true,
         false,
         abi::ProgType::tracing,
         {},
         true});
    add({"a loop in a loop that does not end",
         begin + "again: " + next + "if r0 == 0 goto last\ninner: goto inner\nlast: " + end + done, F::infinite_loop});
    add({"an index from a loop",
         begin + "again: " + next +
             "if r0 == 0 goto last\nr1 = *(u32 *)(r0 + 0)\nif r1 > 7 goto again\nr2 = map[idx:1][0]+0 ll\nr2 += r1\n"
             "*(u8 *)(r2 + 0) = 1\ngoto again\nlast: " +
             end + done});
    add({"an index that grows in a loop",
         begin + "r7 = 0\nagain: " + next +
             "if r0 == 0 goto last\nr2 = map[idx:1][0]+0 ll\nr2 += r7\n*(u8 *)(r2 + 0) = 1\nr7 += 1\ngoto "
             "again\nlast: " +
             end + done,
         F::out_of_map_value});
    add({"an index that grows in a loop, checked",
         begin + "r7 = 0\nagain: " + next +
             "if r0 == 0 goto last\nif r7 > 63 goto last\nr2 = map[idx:1][0]+0 ll\nr2 += r7\n*(u8 *)(r2 + 0) = 1\nr7 "
             "+= 1\ngoto again\nlast: " +
             end + done});
    add({"a reference in a loop", begin + "again: " + next + "if r0 == 0 goto last\nr1 = 1\n" +
                                      kfunc("bpf_task_from_pid") + "if r0 == 0 goto again\nr1 = r0\n" +
                                      kfunc("bpf_task_release") + "goto again\nlast: " + end + done});
    add({"a reference from each round",
         begin + "again: " + next + "if r0 == 0 goto last\nr1 = 1\n" + kfunc("bpf_task_from_pid") +
             "goto again\nlast: " + end + done,
         F::reference_leak});
    const std::string tasks = "r1 = r10\nr1 += -24\n";
    const std::string all =
        tasks + "r2 = 0\nr3 = 0\n" + kfunc("bpf_iter_task_new") + "again: " + tasks + kfunc("bpf_iter_task_next") +
        "if r0 == 0 goto last\nr1 = *(u32 *)(r0 + {o:task_struct.pid})\ngoto again\nlast: " + tasks +
        kfunc("bpf_iter_task_destroy");
    add({"all tasks", all + done});
    add({"all tasks without room", "r1 = r10\nr1 += -16\nr2 = 0\nr3 = 0\n" + kfunc("bpf_iter_task_new") + done,
         F::object_place});
    add({"another loop's end",
         begin + "r1 = r10\nr1 += -24\n*(u64 *)(r10 - 24) = 0\n*(u64 *)(r10 - 16) = 0\n" +
             kfunc("bpf_iter_task_destroy") + done,
         F::iterator_missing});
    add({"all tasks, RCU left",
         kfunc("bpf_rcu_read_lock") + tasks + "r2 = 0\nr3 = 0\n" + kfunc("bpf_iter_task_new") +
             kfunc("bpf_rcu_read_unlock") + tasks + kfunc("bpf_iter_task_next") + tasks +
             kfunc("bpf_iter_task_destroy") + done,
         F::kfunc_needs_rcu});
}

// Dynptrs: over a map's value, a ring buffer's record, a packet.
inline void dynptrs(const auto& add) {
    using F = Finding;
    const std::string done = "r0 = 0\nexit", out = "out: r0 = 0\nexit";
    const auto at = [](u32 reg, int off) { return fmt::format("r{} = r10\nr{} += {}\n", reg, reg, off); };
    const std::string value = "r1 = map[idx:1][0]+0 ll\nr2 = 16\nr3 = 0\n" + at(4, -16) + "call dynptr_from_mem\n";
    const std::string ringed = "r1 = map[idx:2] ll\nr2 = 16\nr3 = 0\n" + at(4, -16) + "call ringbuf_reserve_dynptr\n";
    const std::string submit = at(1, -16) + "r2 = 0\ncall ringbuf_submit_dynptr\n";
    const std::string data = at(1, -16) + "r2 = 0\nr3 = 8\ncall dynptr_data\n";
    const std::string read =
        "*(u64 *)(r10 - 24) = 0\n" + at(1, -24) + "r2 = 8\n" + at(3, -16) + "r4 = 0\nr5 = 0\ncall dynptr_read\n";
    const auto kprobe = [&](std::string name, std::string text, F expected = F::none) {
        add({std::move(name), std::move(text), expected, "", true, false, abi::ProgType::kprobe});
    };
    const auto xdp = [&](std::string name, std::string text, F expected = F::none) {
        add({std::move(name), std::move(text), expected, "", true, false, abi::ProgType::xdp});
    };
    kprobe("a dynptr", value + read + done);
    kprobe("a dynptr that nobody made", read + done, F::dynptr_missing);
    kprobe("a dynptr over the stack",
           "*(u64 *)(r10 - 24) = 0\n" + at(1, -24) + "r2 = 8\nr3 = 0\n" + at(4, -16) + "call dynptr_from_mem\n" + done,
           F::wrong_argument);
    kprobe("a dynptr over too much",
           "r1 = map[idx:1][0]+0 ll\nr2 = 65\nr3 = 0\n" + at(4, -16) + "call dynptr_from_mem\n" + done,
           F::out_of_map_value);
    kprobe("a dynptr, half of it",
           value + at(1, -24) + "r2 = 8\n" + at(3, -8) + "r4 = 0\nr5 = 0\ncall dynptr_read\n" + done, F::object_place);
    kprobe("a dynptr made twice", value + value + read + done);
    kprobe("a dynptr overwritten", value + "*(u64 *)(r10 - 16) = 0\n" + read + done, F::dynptr_missing);
    kprobe("a dynptr looked into", value + "r1 = *(u64 *)(r10 - 16)\n" + done, F::object_touched);
    kprobe("a dynptr's memory", value + data + "if r0 == 0 goto out\n*(u64 *)(r0 + 0) = 1\n" + out);
    kprobe("a dynptr's memory, perhaps", value + data + "*(u64 *)(r0 + 0) = 1\n" + done, F::maybe_null);
    kprobe("beyond a dynptr's memory", value + data + "if r0 == 0 goto out\n*(u64 *)(r0 + 1) = 1\n" + out,
           F::out_of_record);
    kprobe("a dynptr's memory after it",
           value + data + "if r0 == 0 goto out\nr6 = r0\n" + value + "*(u64 *)(r6 + 0) = 1\n" + out, F::not_a_pointer);
    kprobe("a record", ringed + submit + done);
    kprobe("a record that is kept by a dynptr", ringed + done, F::reference_leak);
    kprobe("a record submitted twice by a dynptr", ringed + submit + submit + done, F::dynptr_missing);
    kprobe("a record's dynptr overwritten", ringed + "*(u64 *)(r10 - 16) = 0\n" + submit + done, F::dynptr_overwritten);
    kprobe("a record's memory", ringed + data + "if r0 == 0 goto over\n*(u64 *)(r0 + 0) = 1\nover: " + submit + done);
    kprobe("a record's memory after it",
           ringed + data + "if r0 == 0 goto over\nr6 = r0\n" + submit + "*(u64 *)(r6 + 0) = 1\n" + done +
               "\nover: " + submit + done,
           F::not_a_pointer);
    kprobe("a map's value submitted", value + submit + done, F::dynptr_missing);
    kprobe("a record's size", ringed + at(1, -16) + kfunc("bpf_dynptr_size") + submit + done);
    const std::string packet = "r6 = r1\nr2 = 0\n" + at(3, -16) + kfunc("bpf_dynptr_from_xdp");
    const auto slice = [&](const char* how) { return at(1, -16) + "r2 = 0\nr3 = 0\nr4 = 8\n" + kfunc(how); };
    xdp("a packet", packet + slice("bpf_dynptr_slice") + "if r0 == 0 goto out\nr1 = *(u64 *)(r0 + 0)\n" + out);
    xdp("a packet, written",
        packet + slice("bpf_dynptr_slice_rdwr") + "if r0 == 0 goto out\n*(u64 *)(r0 + 0) = 1\n" + out);
    xdp("a packet to read, written",
        packet + slice("bpf_dynptr_slice") + "if r0 == 0 goto out\n*(u64 *)(r0 + 0) = 1\n" + out, F::memory_read_only);
    xdp("beyond a slice", packet + slice("bpf_dynptr_slice") + "if r0 == 0 goto out\nr1 = *(u64 *)(r0 + 8)\n" + out,
        F::out_of_record);
    xdp("a slice of any size",
        packet + at(1, -16) + "r2 = 0\nr3 = 0\nr4 = *(u32 *)(r6 + 0)\nr4 = r0\n" + kfunc("bpf_dynptr_slice") + done,
        F::size_not_constant);
    xdp("a slice of a packet that moved",
        packet + slice("bpf_dynptr_slice") +
            "if r0 == 0 goto out\nr7 = r0\nr1 = r6\nr2 = 4\ncall xdp_adjust_head\nr1 = *(u64 *)(r7 + 0)\n" + out,
        F::not_a_pointer);
    xdp("a clone",
        packet + at(1, -16) + at(2, -32) + kfunc("bpf_dynptr_clone") + at(1, -32) + kfunc("bpf_dynptr_size") + done);
    xdp("another packet's", packet + "r1 = r6\nr2 = 0\n" + at(3, -32) + kfunc("bpf_dynptr_from_skb") + done,
        F::kfunc_program_type);
    add({"sleeping in RCU",
         kfunc("bpf_rcu_read_lock") + at(1, -8) + "r2 = 8\nr3 = 0\ncall copy_from_user\n" +
             kfunc("bpf_rcu_read_unlock") + done,
         F::sleeps_in_section, "bpf_iter_task", true, true});
    add({"what RCU kept, after it",
         "r6 = *(u64 *)(r1 + 8)\nif r6 == 0 goto out\n" + kfunc("bpf_rcu_read_lock") +
             "r7 = *(u64 *)(r6 + {o:task_struct.real_parent})\nr1 = r7\n" + kfunc("bpf_task_acquire") +
             "if r0 == 0 goto over\nr1 = r0\n" + kfunc("bpf_task_release") + "over: " + kfunc("bpf_rcu_read_unlock") +
             "r1 = r7\n" + kfunc("bpf_task_acquire") + out,
         F::typed_untrusted, "bpf_iter_task", true, true});
}

// What is thrown, and the function that the program names for it.
inline void exceptions(const auto& add) {
    using F = Finding;
    const std::string thrown = "r1 = 0\n" + kfunc("bpf_throw") + "r0 = 0\nexit\n", back = "r0 = 0\nexit\n";
    const auto xdp = [&](std::string name, std::string arguments, std::string text, F expected = F::none) {
        add({std::move(name), std::move(text), expected, "", true, false, abi::ProgType::xdp, std::move(arguments)});
    };
    add({"an exception", thrown});
    xdp("an exception callback", "Ei", thrown + back);
    xdp("an exception callback that gives back what was thrown", "Ei", thrown + "r0 = r1\nexit\n");
    xdp("an exception callback without an exception", "Ei", "r0 = 0\nexit\n" + back);
    xdp("an exception callback that throws", "Ei", thrown + kfunc("bpf_throw") + "exit\n", F::throw_in_callback);
    xdp("an exception callback of two numbers", "Eii", thrown + back, F::bad_exception_callback);
    xdp("an exception callback of a pointer", "Es", thrown + back, F::bad_exception_callback);
    xdp("an exception callback of nothing", "E", thrown + back, F::bad_exception_callback);
    xdp("an exception callback that returns nothing", "EVi", thrown + back, F::bad_exception_callback);
    xdp("a static exception callback", "ELi", thrown + back, F::bad_exception_callback);
    xdp("two exception callbacks", "ETi", thrown + back, F::bad_exception_callback);
    xdp("an exception callback that is not there", "EMi", thrown + back, F::bad_exception_callback);
    xdp("an exception callback that is called", "Ei", "r1 = 0\ncall f\n" + thrown + "f: " + back,
        F::bad_exception_callback);
    const auto iterator = [&](std::string name, std::string arguments, std::string text, F expected = F::none) {
        add({std::move(name), std::move(text), expected, "bpf_iter_task", true, false, abi::ProgType::tracing,
             std::move(arguments)});
    };
    const std::string far = "r1 = 7\n" + kfunc("bpf_throw") + "r0 = 0\nexit\n";
    iterator("an exception out of range", "", far, F::return_range);
    iterator("an exception out of range, for a callback", "Ei", far + back);
    iterator("an exception callback's result", "Ei", thrown + "r0 = 2\nexit\n", F::return_range);
    iterator("an exception callback's result is what was thrown", "Ei", thrown + "r0 = r1\nexit\n", F::return_range);
    iterator("a function that throws", "i", "r1 = 0\ncall f\nr0 = 0\nexit\nf: " + far);
}

// Functions that are judged by what BTF says of their arguments.
inline void global_functions(const auto& add) {
    using F = Finding;
    const auto xdp = [&](std::string name, std::string arguments, std::string text, F expected = F::none) {
        add({std::move(name), std::move(text), expected, "", true, false, abi::ProgType::xdp, std::move(arguments)});
    };
    const std::string pair = "*(u64 *)(r10 - 8) = 1\nr1 = r10\nr1 += -8\n", done = "r0 = 0\nexit\n";
    xdp("a function of numbers", "ii", "r1 = 1\nr2 = 2\ncall f\n" + done + "f: r0 = r1\nr0 += r2\nexit");
    xdp("a function's result is any number", "i",
        "r1 = 1\nr6 = r10\nr6 += -64\ncall f\nr6 += r0\n*(u8 *)(r6 + 0) = 1\n" + done + "f: r0 = 8\nexit",
        F::pointer_offset);
    xdp("a function is judged for any number", "i",
        "r1 = 1\ncall f\n" + done + "f: r2 = r10\nr2 += r1\n*(u8 *)(r2 - 100) = 1\n" + done, F::pointer_offset);
    xdp("a pointer as a number", "i", "call f\n" + done + "f: " + done, F::global_argument);
    xdp("a function of a struct", "s",
        pair + "call f\n" + done + "f: if r1 == 0 goto +1\n*(u32 *)(r1 + 4) = 1\n" + done);
    xdp("a function of a struct, perhaps", "s", pair + "call f\n" + done + "f: *(u32 *)(r1 + 4) = 1\n" + done,
        F::maybe_null);
    xdp("a function of null", "s", "r1 = 0\ncall f\n" + done + "f: if r1 == 0 goto +1\n*(u32 *)(r1 + 4) = 1\n" + done);
    xdp("a function of a struct that is there", "n", pair + "call f\n" + done + "f: *(u32 *)(r1 + 4) = 1\n" + done);
    add({"a function of a struct that is not there", "r1 = 0\ncall f\n" + done + "f: *(u32 *)(r1 + 4) = 1\n" + done,
         F::maybe_null, "", true, false, abi::ProgType::xdp, "n", true});
    xdp("beyond a function's struct", "n", pair + "call f\n" + done + "f: *(u64 *)(r1 + 4) = 1\n" + done,
        F::out_of_record);
    xdp("a function of less than a struct", "n",
        "*(u32 *)(r10 - 4) = 1\nr1 = r10\nr1 += -4\ncall f\n" + done + "f: " + done, F::out_of_stack);
    xdp("a function of the context", "c", "call f\n" + done + "f: r0 = *(u32 *)(r1 + 12)\nexit");
    xdp("a function of another context", "c", pair + "call f\n" + done + "f: r0 = *(u32 *)(r1 + 12)\nexit",
        F::global_argument);
    xdp("a function of a tagged context", "x", "call f\n" + done + "f: r0 = *(u32 *)(r1 + 12)\nexit");
    xdp("a function of an untrusted task", "t",
        "r1 = 0\ncall f\n" + done + "f: r0 = *(u32 *)(r1 + {o:task_struct.pid})\nexit");
    xdp("an untrusted task may be any number", "t",
        "call get_prandom_u32\nr1 = r0\ncall f\n" + done + "f: r1 = *(u64 *)(r1 + {o:task_struct.real_parent})\n" +
            "r0 = *(u32 *)(r1 + {o:task_struct.pid})\nexit");
    xdp("an untrusted task beyond a member", "t",
        "r1 = 0\ncall f\n" + done + "f: r0 = *(u64 *)(r1 + {o:task_struct.pid})\nr0 = 0\nexit", F::typed_field);
    xdp("an untrusted task is not written to", "t",
        "r1 = 0\ncall f\n" + done + "f: *(u32 *)(r1 + {o:task_struct.pid}) = 1\n" + done, F::typed_write);
    xdp("an untrusted struct that the kernel lacks", "u", "r1 = 0\ncall f\n" + done + "f: " + done,
        F::global_argument_type);
    xdp("a function of untrusted numbers", "w",
        "r1 = r10\ncall f\n" + done + "f: r0 = *(u32 *)(r1 + 100)\nr1 += 4096\nr2 = *(u64 *)(r1 + 0)\nr0 = 0\nexit");
    xdp("untrusted numbers are not written to", "w", "r1 = 0\ncall f\n" + done + "f: *(u32 *)(r1 + 0) = 1\n" + done,
        F::memory_read_only);
    xdp("a function of anything", "v", "call f\n" + done + "f: " + done, F::global_argument_type);
    xdp("a function that returns nothing", "Vi", "r1 = 0\ncall f\n" + done + "f: " + done, F::global_result);
    xdp("a function that returns a pointer", "c", "call f\n" + done + "f: r0 = r1\nexit", F::returns_pointer);
    xdp("a function that moves the packet", "c",
        "r6 = *(u32 *)(r1 + 0)\nr7 = *(u32 *)(r1 + 4)\nr8 = r6\nr8 += 4\nif r8 > r7 goto out\ncall f\nr0 = *(u8 *)(r6 "
        "+ 0)\nout: " +
            done + "f: r2 = 0\ncall xdp_adjust_head\n" + done,
        F::not_a_pointer);
    xdp("a function that leaves the packet", "c",
        "r6 = *(u32 *)(r1 + 0)\nr7 = *(u32 *)(r1 + 4)\nr8 = r6\nr8 += 4\nif r8 > r7 goto out\ncall f\nr0 = *(u8 *)(r6 "
        "+ 0)\nout: " +
            done + "f: " + done);
    xdp("a function in a loop", "i",
        "r6 = 0\nagain: r1 = r6\ncall f\nr6 += 1\nif r6 < 5 goto again\n" + done + "f: " + done);
}

inline std::vector<TypedCase> typed_cases() {
    std::vector<TypedCase> cases;
    const auto add = [&](TypedCase one) { cases.push_back(std::move(one)); };
    typed_pointers(add);
    typed_helpers(add);
    kfunc_calls(add);
    iterators(add);
    dynptrs(add);
    exceptions(add);
    global_functions(add);
    border_cases(add);
    return cases;
}

}  // namespace anybpf::verifier::testing
