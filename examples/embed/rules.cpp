// SPDX-License-Identifier: Apache-2.0
// A host with a rule engine: rules arrive as text while it runs, are verified, and judge orders. A rule can neither
// crash the host nor loop for ever nor read anything but the order and its map; one that might is refused, with the
// reason. rules [ENGINE]
#include <anybpf/embed.hpp>
#include <anybpf/isa/text.hpp>
#include <cstdio>

namespace embed = anybpf::embed;

// What a rule sees. Of such a record the first 8 bytes are the host's own.
struct Order {
    std::uint64_t hidden;
    std::uint32_t customer, amount, country;
};

struct Rule {
    const char* name;
    const char* text;  // r1 is the order; r0 != 0 lets it pass
};
constexpr Rule rules[] = {
    {"small", "r0 = 1\nr2 = *(u32 *)(r1 + 12)\nif r2 <= 500 goto out\nr0 = 0\nout: exit"},
    {"at home", "r0 = 1\nr2 = *(u32 *)(r1 + 16)\nif r2 == 49 goto out\nr0 = 0\nout: exit"},
    // At most two orders a customer: counts[customer] is the map's, whose descriptor the host fills in.
    {"two a customer", R"(
        r2 = *(u32 *)(r1 + 8)
        *(u32 *)(r10 - 4) = r2
        r2 = r10
        r2 += -4
        r1 = map[fd:0] ll
        call 1                      // map_lookup_elem
        if r0 == 0 goto refuse
        r1 = *(u64 *)(r0 + 0)
        if r1 >= 2 goto refuse
        r1 += 1
        *(u64 *)(r0 + 0) = r1
        r0 = 1
        exit
    refuse:
        r0 = 0
        exit)"},
    {"curious", "r0 = *(u64 *)(r1 + 8192)\nexit"},
    {"endless", "again: goto again"},
};

int main(int argc, char** argv) {
    embed::Options options;
    if (argc > 1) options.engine = argv[1];
    const auto machine = embed::Machine::open(options);
    if (!machine) return std::fprintf(stderr, "rules: %s\n", machine.error().message.c_str()), 1;
    const auto counts = machine->create_map({"counts", anybpf::abi::MapType::array, 4, 8, 100});
    if (!counts) return std::fprintf(stderr, "rules: %s\n", counts.error().message.c_str()), 1;

    std::vector<embed::Program> accepted;
    for (const Rule& rule : rules) {
        auto code = anybpf::isa::assemble(rule.text);
        if (!code) return std::fprintf(stderr, "rules: %s: %s\n", rule.name, code.error().message.c_str()), 1;
        for (auto& insn : *code)
            if (insn.code == 0x18) insn.imm = counts->fd();
        auto program = machine->load({rule.name, anybpf::abi::ProgType::tracepoint, *code});
        if (program) {
            accepted.push_back(std::move(*program));
            continue;
        }
        const std::string& why = program.error().message;
        std::printf("rule '%s' is refused: %s\n", rule.name,
                    why.substr(why.find('\n') + 1, why.find('\n', why.find('\n') + 1) - why.find('\n') - 1).c_str());
    }
    for (const Order& order :
         {Order{0, 7, 100, 49}, Order{0, 7, 501, 49}, Order{0, 8, 5, 33}, Order{0, 7, 1, 49}, Order{0, 7, 2, 49}}) {
        std::printf("customer %u, %u from %u:", order.customer, order.amount, order.country);
        bool passes = true;
        for (const embed::Program& rule : accepted) {
            const auto result = rule.run(std::as_bytes(std::span(&order, 1)));
            if (!result) return std::fprintf(stderr, "rules: %s\n", result.error().message.c_str()), 1;
            if (*result == 0) std::printf(" %s", rule.name().c_str());
            passes = passes && *result != 0;
        }
        std::printf("%s\n", passes ? " passes" : " say no");
    }
    std::printf("customer 7 has %llu\n",
                static_cast<unsigned long long>(counts->get<std::uint64_t>(7U).value().value()));
    return 0;
}
