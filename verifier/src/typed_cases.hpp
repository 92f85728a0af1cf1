// SPDX-License-Identifier: Apache-2.0
// Programs that touch what the kernel's BTF describes, each with its verdict: judged with a small kernel's types by
// typed_test.cpp, and with the running kernel's by live_typed_test.cpp, which asks that kernel, too.
#pragma once

#include "kernel_types.hpp"

namespace anybpf::verifier::testing {

struct TypedCase {
    std::string name;
    std::string text;
    Finding expected = Finding::none;
    std::string attach = "btf_trace_sched_switch";  // empty: a kprobe
    bool gpl = true;
    bool sleepable = false;
    abi::ProgType type = abi::ProgType::tracing;
};

inline program::Program program_of(const TypedCase& one, std::shared_ptr<const btf::Btf> types) {
    program::Program program = program_of(with_types(one.text, *types), one.type);
    program.gpl_compatible = one.gpl;
    program.sleepable = one.sleepable;
    program.kernel_btf = types;
    if (one.attach.empty()) return program;
    using abi::AttachType;
    if (one.type == abi::ProgType::lsm) {
        program.expected_attach_type = AttachType::lsm_mac;
        program.attach_btf_id = types->find(one.attach, btf::Kind::func).value_or(0);
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

inline std::vector<TypedCase> typed_cases() {
    std::vector<TypedCase> cases;
    const auto add = [&](TypedCase one) { cases.push_back(std::move(one)); };
    typed_pointers(add);
    typed_helpers(add);
    return cases;
}

}  // namespace anybpf::verifier::testing
