// SPDX-License-Identifier: Apache-2.0
// Opening and loading an object with libbpf, and telling in one message why it did not work. Whoever answers libbpf's
// system calls is the caller's choice: an Interposition of ours, or the machine's kernel.
#pragma once

#include <bpf/libbpf.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "anybpf/base/result.hpp"
#include "anybpf/btf/btf.hpp"

namespace anybpf::object {

// What libbpf says while this lives, kept instead of printed (or printed too, when verbose). One at a time: libbpf's
// print function takes no context.
class LibbpfLog {
  public:
    explicit LibbpfLog(bool verbose);
    ~LibbpfLog();
    LibbpfLog(const LibbpfLog&) = delete;
    LibbpfLog& operator=(const LibbpfLog&) = delete;
    const std::string& text() const { return text_; }
    // The last line that speaks of a failure, without "libbpf: ".
    std::string last_complaint() const;

  private:
    friend int keep(enum libbpf_print_level level, const char* format, va_list arguments);
    std::string text_;
    bool verbose_;
};

enum class Trouble : u8 {
    no_memory,
    unreadable,       // libbpf cannot read the object
    no_such_program,  // of the name asked for
    refused,          // by the verifier
    map_refused,
    not_permitted,
    failed,
};
struct Failure {
    Trouble what{};
    std::string message;  // goes on a sentence that starts with the object's name and a colon
};
template <class T = void>
using Outcome = tl::expected<T, Failure>;

struct OpenOptions {
    std::string only;      // load this program alone
    u32 log_level = 0;     // of the verifier's log
    bool fill_in = false;  // what the loading program would set: only to see whether it loads
    std::string name;      // of the object, which names its data maps; empty: libbpf makes one up
};

class Loaded {
  public:
    bpf_object* object() const { return object_.get(); }
    std::string log(const bpf_program* program) const;
    const std::shared_ptr<const btf::Btf>& btf() const { return btf_; }  // of the object; may be null

  private:
    friend Outcome<Loaded> open(std::span<const std::byte> bytes, const OpenOptions& options, const LibbpfLog& log);
    friend Outcome<> load(const Loaded& loaded, const LibbpfLog& log);
    struct Close {
        void operator()(bpf_object* object) const { bpf_object__close(object); }
    };
    struct Log {
        const bpf_program* program;
        std::unique_ptr<char[]> text;
    };
    std::vector<Log> logs_;  // outlives the object that writes into it
    std::unique_ptr<bpf_object, Close> object_;
    std::shared_ptr<const btf::Btf> btf_;
};

// Nothing is loaded yet; the bytes are copied. log is the one that lives.
Outcome<Loaded> open(std::span<const std::byte> bytes, const OpenOptions& options, const LibbpfLog& log);
// Creates the maps and loads the programs.
Outcome<> load(const Loaded& loaded, const LibbpfLog& log);

// What a person needs of a verifier's log: all but the walk over instructions.
std::string shorten_verifier_log(const std::string& log);

}  // namespace anybpf::object
