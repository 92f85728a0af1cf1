// SPDX-License-Identifier: Apache-2.0
// anybpf doctor: what this machine allows, asked by trying it; what is lost where it does not, and what mends that.
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "asks.hpp"
#include "commands.hpp"
#include "value.hpp"

namespace anybpf::cli {

namespace {

enum class Need : u8 { run, events, cost, other };

struct Row {
    std::string_view name;
    Need need;
    std::string_view lost, mend_absent, mend_refused;
    Answer answer;
};

std::string_view word(State state) {
    switch (state) {
        case State::yes:
            return "yes";
        case State::no:
            return "no";
        case State::partly:
            return "partly";
    }
    return {};
}

std::string mend(const Row& row) {
    if (row.answer.state == State::yes) return {};
    if (!row.answer.mend.empty()) return row.answer.mend;
    const bool absent = row.answer.error == ENOSYS || row.answer.error == EINVAL || row.answer.error == ENOENT;
    return std::string(absent || row.mend_refused.empty() ? row.mend_absent : row.mend_refused);
}

Json json_of(const Row& row) {
    return {{"check", row.name},           {"result", word(row.answer.state)},
            {"detail", row.answer.detail}, {"without", row.answer.state == State::yes ? "" : row.lost},
            {"mend", mend(row)},           {"needed", row.need == Need::run}};
}

void print(const Row& row) {
    constexpr std::string_view margin = "                                  ";
    fmt::print("{:<7} {:<25} {}\n", word(row.answer.state), row.name, row.answer.detail);
    if (row.answer.state == State::yes) return;
    fmt::print("{}lost: {}\n", margin, row.lost);
    if (const std::string text = mend(row); !text.empty()) fmt::print("{}mend: {}\n", margin, text);
}

}  // namespace

Outcome<int> doctor(bool json) {
    // kernel_bpf asks the machine's own before root() puts ours in its place.
    const Answer of_kernel = asks::kernel_bpf();
    const auto ask = [&](Answer (*question)()) { return question == asks::kernel_bpf ? of_kernel : question(); };
    const Row rows[] = {
#define ANYBPF_ASK(id, name, need, lost, mend_absent, mend_refused) \
    {name, Need::need, lost, mend_absent, mend_refused, ask(asks::id)},
#include "doctor.def"
    };
    bool works = true, whole = true;
    Json list = Json::array();
    for (const Row& row : rows) {
        works = works && (row.need != Need::run || row.answer.state == State::yes);
        whole = whole && (row.need != Need::events || row.answer.state == State::yes);
        if (json)
            list.push_back(json_of(row));
        else
            print(row);
    }
    if (json)
        fmt::print("{}\n", dump(list));
    else
        fmt::print("\n{}\n", !works   ? "anybpf run does not work here; see above."
                             : !whole ? "anybpf run works here, without privileges, with the losses named above."
                                      : "anybpf run works here, without privileges.");
    return static_cast<int>(works ? Exit::ok : Exit::failed);
}

}  // namespace anybpf::cli
