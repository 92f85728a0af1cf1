// SPDX-License-Identifier: Apache-2.0
// Opening and loading an object with libbpf, and telling in one message why it did not work.
#pragma once

#include <bpf/libbpf.h>

#include <memory>
#include <string>
#include <vector>

#include "anybpf/btf/btf.hpp"
#include "object_file.hpp"
#include "sections.hpp"

namespace anybpf::cli {

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

struct LoadOptions {
    std::string only;   // load this program alone
    u32 log_level = 0;  // of the verifier's log
    bool verbose = false;
    std::string name;  // of the object, where the file's is a temporary one's
};

class Loaded {
  public:
    bpf_object* object() const { return object_.get(); }
    std::string log(const bpf_program* program) const;
    const std::shared_ptr<const btf::Btf>& btf() const { return btf_; }  // of the object; may be null

  private:
    friend Outcome<Loaded> open_object(const ObjectFile& file, const LoadOptions& options, LibbpfLog& log);
    friend Outcome<> load_object(Loaded& loaded, const ObjectFile& file, LibbpfLog& log);
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

// open: sections are checked, nothing is loaded yet. load: Exit::refused with the verifier's message,
// Exit::map_refused, ...
Outcome<Loaded> open_object(const ObjectFile& file, const LoadOptions& options, LibbpfLog& log);
Outcome<> load_object(Loaded& loaded, const ObjectFile& file, LibbpfLog& log);

// What a person needs of a verifier's log: all but the walk over instructions.
std::string shorten_verifier_log(const std::string& log);

}  // namespace anybpf::cli
