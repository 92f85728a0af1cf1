// SPDX-License-Identifier: Apache-2.0
// The commands besides run and compile: their options, and the functions that do them. Each prints its result to
// stdout.
#pragma once

#include <string>
#include <vector>

#include "anybpf/kernel/kernel.hpp"
#include "failure.hpp"
#include "sections.hpp"

namespace anybpf::cli {

struct VerifyOptions {
    std::vector<std::string> files;
    std::string only;
    std::string btf;  // a file with the kernel's types; "anybpf": our own; empty: the running kernel's where it has any
    std::string target, target_program;  // what extensions (freplace) are of
    std::vector<std::string> clang;
    std::vector<std::string> kernels;  // "5.10", "all"; none: what the verifier here says
    bool log = false, json = false, verbose = false, unprivileged = false, strict = false, strict_alignment = false;
    kernel::Limits limits;
    Where where = Where::user;
};
Outcome<int> verify(const VerifyOptions& options);
// Would they load on other versions? Of objects, .bpf.c files and folders of objects.
Outcome<int> profile(const VerifyOptions& options);

struct ExecOptions {
    std::string program, name, data_in, ctx_in, engine = "jit";
    std::vector<std::string> clang;
    unsigned repeat = 1;
    bool json = false, verbose = false;
    kernel::Limits limits;
};
Outcome<int> exec(const ExecOptions& options);

struct DisasmOptions {
    std::string file, only;
    bool kernel_style = false, json = false, no_bytes = false;
};
Outcome<int> disasm(const DisasmOptions& options);

struct AsmOptions {
    std::string file, output, section, name = "prog", license = "GPL";
};
Outcome<int> assemble(const AsmOptions& options);

// prog, map, link, btf: words as bpftool takes them ("show", "id", "3").
struct ObjectsOptions {
    std::string kind;
    std::vector<std::string> words;
    bool json = false;
    Where where = Where::user;
};
Outcome<int> objects(const ObjectsOptions& options);

struct AttachOptions {
    std::vector<int> pids;
    bool json = false;
};
Outcome<int> attach(const AttachOptions& options);
Outcome<int> detach(const AttachOptions& options);

Outcome<int> doctor(bool json);

}  // namespace anybpf::cli
