// SPDX-License-Identifier: Apache-2.0
// anybpf exec: one program on given input, by BPF_PROG_TEST_RUN.
#include <bpf/bpf.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "build.hpp"
#include "commands.hpp"
#include "compile.hpp"
#include "loader.hpp"
#include "machine.hpp"
#include "value.hpp"

namespace anybpf::cli {

namespace {

bool takes_packet(abi::ProgType type) {
    constexpr abi::ProgType types[] = {
        abi::ProgType::socket_filter, abi::ProgType::sched_cls,      abi::ProgType::sched_act,
        abi::ProgType::xdp,           abi::ProgType::cgroup_skb,     abi::ProgType::lwt_in,
        abi::ProgType::lwt_out,       abi::ProgType::lwt_xmit,       abi::ProgType::sk_skb,
        abi::ProgType::lwt_seg6local, abi::ProgType::flow_dissector, abi::ProgType::netfilter};
    return std::find(std::begin(types), std::end(types), type) != std::end(types);
}

}  // namespace

Outcome<int> exec(const ExecOptions& options) {
    const engine::AnyEngine* engine = nullptr;  // the interpreter, or the machine's own
    if (options.engine == engine::Jit::name) engine = &engine::any<engine::Jit>;
    if (options.engine == engine::Llvm::name) {
        CLI_TRY(llvm_available());
        engine = &engine::any<engine::Llvm>;
    }
    const Where where = options.engine == "kernel" ? Where::kernel : Where::user;
    const auto file = CLI_TRY(ObjectFile::of_program(options.program, options.clang));
    std::vector<std::byte> data, context;
    if (!options.data_in.empty()) data = CLI_TRY(read_file(options.data_in));
    if (!options.ctx_in.empty()) context = CLI_TRY(read_file(options.ctx_in));

    CLI_TRY(Machine::check_runs(where));
    const auto machine = CLI_TRY(Machine::open(where, options.limits));
    if (engine != nullptr) machine.kernel()->set_engine(*engine);
    const LibbpfLog said(options.verbose);
    auto loaded = CLI_TRY(open_object(
        file, {.only = options.name, .log_level = 0, .verbose = options.verbose, .name = file.name()}, said));
    CLI_TRY(load_object(loaded, file, said));
    const bpf_program* program = bpf_object__find_program_by_name(loaded.object(), options.name.c_str());

    // What the kernel insists on: packets of at least an Ethernet header, and a raw tracepoint's twelve arguments.
    const auto type = static_cast<abi::ProgType>(bpf_program__type(program));
    if (takes_packet(type) && options.data_in.empty()) data.resize(64);
    if (type == abi::ProgType::raw_tracepoint && options.ctx_in.empty()) context.resize(12 * sizeof(u64));

    LIBBPF_OPTS(bpf_test_run_opts, run);
    std::vector<std::byte> data_out(data.empty() ? 0 : data.size() + 4096), context_out(context.size());
    if (!data.empty()) {
        run.data_in = data.data();
        run.data_size_in = static_cast<u32>(data.size());
        run.data_out = data_out.data();
        run.data_size_out = static_cast<u32>(data_out.size());
    }
    if (!context.empty()) {
        run.ctx_in = context.data();
        run.ctx_size_in = static_cast<u32>(context.size());
        // The kernel takes a raw tracepoint's arguments and gives none back.
        if (type != abi::ProgType::raw_tracepoint) {
            run.ctx_out = context_out.data();
            run.ctx_size_out = static_cast<u32>(context_out.size());
        }
    }
    if (options.repeat > 1) run.repeat = static_cast<int>(options.repeat);
    if (bpf_prog_test_run_opts(bpf_program__fd(program), &run) != 0) {
        const int error = errno;
        const char* why = "";
        if (error == EINVAL && where == Where::kernel)
            why = " (the kernel runs only some program types so, and raw tracepoints only once)";
        const bool code_refused = where == Where::user && (error == EPERM || error == EACCES);
        if (code_refused) why = " (no machine code here: --engine interp, see anybpf doctor)";
        return stop(error == EPERM || code_refused ? Exit::not_permitted : Exit::failed,
                    fmt::format("{}: program '{}' cannot be run: {}{}", options.program, options.name,
                                std::strerror(error), why));
    }
    data_out.resize(std::min<std::size_t>(run.data_size_out, data_out.size()));
    context_out.resize(run.ctx_out ? std::min<std::size_t>(run.ctx_size_out, context_out.size()) : 0);
    if (options.json) {
        fmt::print("{}\n", dump(Json{{"retval", run.retval},
                                     {"duration_ns", run.duration},
                                     {"repeat", options.repeat},
                                     {"engine", options.engine},
                                     {"data_out", hex(data_out)},
                                     {"ctx_out", hex(context_out)}}));
        return 0;
    }
    fmt::print("returned {} ({:#x}), {} ns a run, {} run{} by {}\n", run.retval, run.retval, run.duration,
               options.repeat, options.repeat == 1 ? "" : "s", options.engine);
    if (!data_out.empty()) fmt::print("data out: {}\n", hex(data_out));
    if (!context_out.empty()) fmt::print("ctx out:  {}\n", hex(context_out));
    return 0;
}

}  // namespace anybpf::cli
