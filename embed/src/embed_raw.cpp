// SPDX-License-Identifier: Apache-2.0
// Raw because bpf(2) takes addresses as numbers. It is safe because every one is of an object that lives during the
// call, and every length is checked against the map's before.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "anybpf/abi/context.hpp"
#include "anybpf/abi/uapi.hpp"
#include "anybpf/embed.hpp"
#include "engines.hpp"
#include "state.hpp"

namespace anybpf::embed {

namespace uapi = abi::uapi;

namespace {

u64 address(const void* at) { return reinterpret_cast<u64>(at); }

Errc errc_of(long error) {
    switch (error) {
        case ENOENT:
            return Errc::not_found;
        case EEXIST:
            return Errc::already_exists;
        case EPERM:
        case EACCES:
            return Errc::permission_denied;
        case ENOMEM:
            return Errc::out_of_memory;
        case E2BIG:
        case ENOSPC:
            return Errc::too_big;
        case EBUSY:
            return Errc::busy;
        default:
            return Errc::invalid_argument;
    }
}

// bpf_obj_name_cpy() wants it short, and of few characters.
std::array<char, abi::name_size> object_name(std::string_view name) {
    std::array<char, abi::name_size> out{};
    const auto good = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    };
    for (std::size_t i = 0; i < std::min(name.size(), out.size() - 1); ++i) out[i] = good(name[i]) ? name[i] : '_';
    return out;
}

// Behind the kernel's own text stands what a person wants to know.
std::string explanation(std::string_view log) {
    const std::size_t statistics = log.find("processed ");
    if (statistics == std::string_view::npos) return std::string(log);
    const std::size_t end = log.find('\n', statistics);
    std::string text(end == std::string_view::npos ? std::string_view{} : log.substr(end + 1));
    while (text.ends_with('\n')) text.pop_back();
    return text;
}

u64 round_up(u64 size) { return (size + 7) & ~u64{7}; }

}  // namespace

std::vector<std::string_view> engines() {
    std::vector<std::string_view> names;
    for (const engine::AnyEngine& row : engine_rows) names.push_back(row.name);
    return names;
}

Handle::~Handle() {
    if (!fd_.valid()) return;
    const auto object = state_->kernel->owns(fd_.get());
    fd_ = Fd();
    if (object) state_->kernel->closed(*object);
}

template <class Attributes>
Result<long> State::call(uapi::Command command, Attributes& attributes, std::string_view what, u32 size) const {
    const long result = kernel->bpf(static_cast<int>(command), &attributes, size == 0 ? Attributes::used : size);
    if (result >= 0) return result;
    return fail(errc_of(-result), fmt::format("{}: {}", what, kernel->last_error()), static_cast<int>(-result));
}

// --------------------------------------------------------------------------------------------------------- the machine

namespace {

Result<const engine::AnyEngine*> engine_row(std::string_view name) {
    const auto row = std::ranges::find(engine_rows, name, &engine::AnyEngine::name);
    if (row != engine_rows.end()) return &*row;
    return fail(Errc::not_found,
                fmt::format("there is no engine '{}' in this build; there are: {}", name, fmt::join(engines(), ", ")));
}

}  // namespace

Result<Machine> Machine::open(const Options& options) {
    auto state = std::make_shared<State>();
    state->first_engine = ANYBPF_TRY(engine_row(options.engine));
    state->kernel = ANYBPF_TRY(kernel::Kernel::open(options.root));
    ANYBPF_TRY(state->kernel->set_limits({.max_insns = options.max_insns, .stack_bytes = options.stack_bytes}));
    ANYBPF_TRY(state->runner(*state->first_engine));
    return Machine(std::move(state));
}

Result<> Machine::set_limits(u64 max_insns, u32 stack_bytes) const {
    return state_->kernel->set_limits({.max_insns = max_insns, .stack_bytes = stack_bytes});
}

Result<kernel::Runner*> State::runner(const engine::AnyEngine& row) {
    return runners.with([&](auto& known) -> Result<kernel::Runner*> {
        auto& runner = known[&row];
        if (!runner) runner = ANYBPF_TRY(kernel::Runner::make(*kernel, row));
        return runner.get();
    });
}

Result<Map> Machine::create_map(const MapSpec& spec) const {
    uapi::MapCreate attributes{};
    attributes.map_type = static_cast<u32>(spec.type);
    attributes.key_size = spec.key_size;
    attributes.value_size = spec.value_size;
    attributes.max_entries = spec.max_entries;
    attributes.map_flags = spec.flags;
    attributes.map_name = object_name(spec.name);
    Fd fd(static_cast<int>(ANYBPF_TRY(
        state_->call(uapi::Command::map_create, attributes, fmt::format("map '{}' cannot be made", spec.name)))));
    return state_->map(std::move(fd));
}

Result<Program> Machine::load(const ProgramSpec& spec) const {
    std::string log(64U << 10, '\0');
    uapi::ProgLoad attributes{};
    attributes.prog_type = static_cast<u32>(spec.type);
    attributes.insn_cnt = static_cast<u32>(std::min<std::size_t>(spec.insns.size(), ~0U));
    attributes.insns = address(spec.insns.data());
    attributes.license = address(spec.license.c_str());
    attributes.prog_name = object_name(spec.name);
    attributes.log_level = uapi::log_stats;
    attributes.log_buf = address(log.data());
    attributes.log_size = static_cast<u32>(log.size());
    auto fd =
        state_->call(uapi::Command::prog_load, attributes, fmt::format("program '{}' cannot be loaded", spec.name));
    if (fd) return state_->program(Fd(static_cast<int>(*fd)));
    log.resize(std::strlen(log.c_str()));
    const std::string why = explanation(log);
    if (why.empty()) return tl::make_unexpected(std::move(fd).error());
    return fail(Errc::rejected, fmt::format("the verifier refuses program '{}':\n{}", spec.name, why),
                fd.error().sys_errno);
}

Result<Map> Machine::adopt_map(Fd fd) const { return state_->map(std::move(fd)); }
Result<Program> Machine::adopt_program(Fd fd) const { return state_->program(std::move(fd)); }

Result<Map> State::map(Fd fd) {
    const auto object = kernel->owns(fd.get());
    if (!object || object->kind != kernel::ObjectKind::map) return fail(Errc::invalid_argument, "not a map", EINVAL);
    auto mapped = std::make_shared<kernel::MappedMap>(ANYBPF_TRY(kernel->root().map_object(object->id)));
    const maps::Spec& spec = mapped->map->spec();
    Map map;
    map.spec_ = {.name = spec.name.data(),
                 .type = spec.type,
                 .key_size = spec.key_size,
                 .value_size = spec.value_size,
                 .max_entries = spec.max_entries,
                 .flags = spec.flags};
    map.handle_ = Handle(shared_from_this(), std::move(fd));
    map.value_bytes_ = mapped->map->syscall_value_size();
    if (std::byte* first = mapped->map->values()) map.values_ = {first, round_up(spec.value_size) * spec.max_entries};
    map.memory_ = std::move(mapped);
    return map;
}

Result<Program> State::program(Fd fd) {
    const auto object = kernel->owns(fd.get());
    if (!object || object->kind != kernel::ObjectKind::prog)
        return fail(Errc::invalid_argument, "not a program", EINVAL);
    const auto opened = ANYBPF_TRY(kernel->root().open_program(object->id));
    Program program;
    program.code_ = std::make_shared<Code>();
    ANYBPF_TRY(program.code_->use(*this, opened, *first_engine));
    program.name_ = opened.name;
    program.type_ = opened.type;
    program.context_bytes_ = opened.context_bytes;
    program.handle_ = Handle(shared_from_this(), std::move(fd));
    return program;
}

// ---------------------------------------------------------------------------------------------------------------- maps

namespace {

Result<> check_size(std::span<const std::byte> bytes, std::size_t size, std::string_view what) {
    if (bytes.size() == size) return {};
    return fail(Errc::invalid_argument, fmt::format("{} has {} bytes, not {}", what, bytes.size(), size), EINVAL);
}

}  // namespace

Result<std::optional<std::vector<std::byte>>> Map::lookup(std::span<const std::byte> key) const {
    ANYBPF_TRY(check_size(key, spec_.key_size, "the key"));
    std::vector<std::byte> value(value_bytes_);
    uapi::MapElement attributes{.map_fd = static_cast<u32>(fd()),
                                .pad = 0,
                                .key = address(key.data()),
                                .value = address(value.data()),
                                .flags = 0};
    auto found = handle_.state().call(uapi::Command::map_lookup_elem, attributes, "lookup");
    if (!found && found.error().code == Errc::not_found) return std::nullopt;
    ANYBPF_TRY(std::move(found));
    return value;
}

Result<> Map::update(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) const {
    ANYBPF_TRY(check_size(key, spec_.key_size, "the key"));
    ANYBPF_TRY(check_size(value, value_bytes_, "the value"));
    uapi::MapElement attributes{.map_fd = static_cast<u32>(fd()),
                                .pad = 0,
                                .key = address(key.data()),
                                .value = address(value.data()),
                                .flags = flags};
    ANYBPF_TRY(handle_.state().call(uapi::Command::map_update_elem, attributes, "update"));
    return {};
}

Result<bool> Map::erase(std::span<const std::byte> key) const {
    ANYBPF_TRY(check_size(key, spec_.key_size, "the key"));
    uapi::MapElement attributes{};
    attributes.map_fd = static_cast<u32>(fd());
    attributes.key = address(key.data());
    auto erased =
        handle_.state().call(uapi::Command::map_delete_elem, attributes, "erase", uapi::MapElement::used_by_delete);
    if (!erased && erased.error().code == Errc::not_found) return false;
    ANYBPF_TRY(std::move(erased));
    return true;
}

Result<std::optional<std::vector<std::byte>>> Map::next_key(std::optional<std::span<const std::byte>> key) const {
    if (key) ANYBPF_TRY(check_size(*key, spec_.key_size, "the key"));
    std::vector<std::byte> next(spec_.key_size);
    uapi::MapElement attributes{};
    attributes.map_fd = static_cast<u32>(fd());
    attributes.key = key ? address(key->data()) : 0;
    attributes.value = address(next.data());
    auto found = handle_.state().call(uapi::Command::map_get_next_key, attributes, "next key",
                                      uapi::MapElement::used_by_next_key);
    if (!found && found.error().code == Errc::not_found) return std::nullopt;
    ANYBPF_TRY(std::move(found));
    return next;
}

// -------------------------------------------------------------------------------------------------------- ring buffers

namespace {

Result<maps::RingBuffer*> ring_of(const std::shared_ptr<const void>& memory) {
    auto* ring = maps::RingBuffer::of(*static_cast<const kernel::MappedMap*>(memory.get())->map);
    if (ring == nullptr) return fail(Errc::invalid_argument, "the map is no ring buffer", EINVAL);
    return ring;
}

}  // namespace

Result<u64> Map::consume(const std::function<void(std::span<const std::byte> record)>& take) const {
    auto* const ring = ANYBPF_TRY(ring_of(memory_));
    u64 count = 0;
    for (auto record = ring->front(); record; record = ring->front(), ++count) {
        take(*record);
        ring->pop();
    }
    return count;
}

// A writer leaves a byte in the FIFO when it finishes a record that the reader stands at: the reader throws away what
// lies there, looks, and only then sleeps.
Result<bool> Map::wait(std::chrono::milliseconds longest) const {
    auto* const ring = ANYBPF_TRY(ring_of(memory_));
    kernel::Kernel& kernel = *handle_.state().kernel;
    const int wake = kernel.wake_fd(fd());
    if (wake < 0)
        return fail(Errc::io, fmt::format("the ring buffer cannot be waited for: {}", kernel.last_error()), -wake);
    kernel.drain(fd());
    if (ring->front()) return true;
    pollfd entry{.fd = wake, .events = POLLIN, .revents = 0};
    const auto most = std::min<std::chrono::milliseconds::rep>(longest.count(), std::numeric_limits<int>::max());
    if (::poll(&entry, 1, static_cast<int>(most)) < 0 && errno != EINTR) return fail_errno("poll");
    return ring->front().has_value();
}

// ---------------------------------------------------------------------------------------------------------------- runs

namespace {

// With what runs it on a virtual CPU of this thread's.
template <class F>
Result<> run_series(const Code& code, F&& runs) {
    const Code::Version& version = *code.current.load(std::memory_order_acquire);
    const kernel::Runner::Cpu cpu(*version.runner);
    if (!cpu.valid()) return fail(Errc::busy, "all virtual CPUs are taken", EBUSY);
    kernel::Runner::Series series(*version.runner, *version.bound, cpu);
    runs(series);
    return {};
}

}  // namespace

Result<> Code::use(State& state, const kernel::ProgramObject& program, const engine::AnyEngine& row) {
    auto* const runner = ANYBPF_TRY(state.runner(row));
    return versions.with([&](auto& all) -> Result<> {
        auto version = std::ranges::find(all, &row, &Version::engine);
        if (version == all.end()) version = all.insert(all.end(), {&row, runner, ANYBPF_TRY(runner->bind(program))});
        current.store(&*version, std::memory_order_release);
        return {};
    });
}

Result<> Program::tier_up(std::string_view engine) const {
    const auto* const row = ANYBPF_TRY(engine_row(engine));
    const auto object = handle_.state().kernel->owns(fd());
    if (!object) return fail(Errc::invalid_argument, "not a program", EINVAL);
    return code_->use(handle_.state(), ANYBPF_TRY(handle_.state().kernel->root().open_program(object->id)), *row);
}

std::string_view Program::engine() const { return code_->current.load(std::memory_order_acquire)->engine->name; }

Result<u64> Program::run(std::span<const std::byte> context) const {
    if (type_ == abi::ProgType::socket_filter)
        return fail(Errc::invalid_argument, "a socket filter takes a packet", EINVAL);
    if (abi::packet_addresses_at(type_))
        return fail(Errc::unsupported, "the context of this program type holds addresses of a packet", EOPNOTSUPP);
    if (context.size() < context_bytes_)
        return fail(Errc::invalid_argument,
                    fmt::format("program '{}' reads {} bytes of context, and there are {}", name_, context_bytes_,
                                context.size()),
                    EINVAL);
    u64 result = 0;
    ANYBPF_TRY(run_series(*code_, [&](auto& series) {
        result = series.run({.context = const_cast<std::byte*>(context.data()), .packet = {}});
    }));
    return result;
}

Result<u64> Program::filter(Packet packet) const {
    u64 verdict = 0;
    ANYBPF_TRY(filter(std::span(&packet, 1), std::span(&verdict, 1)));
    return verdict;
}

Result<> Program::filter(std::span<const Packet> packets, std::span<u64> verdicts) const {
    if (type_ != abi::ProgType::socket_filter)
        return fail(Errc::invalid_argument, fmt::format("program '{}' is no socket filter", name_), EINVAL);
    if (verdicts.size() < packets.size()) return fail(Errc::invalid_argument, "more packets than verdicts", EINVAL);
    constexpr u32 sk_buff_bytes = 192, ethernet_header = 14;
    std::array<u32, sk_buff_bytes / sizeof(u32)> context{};
    return run_series(*code_, [&](auto& series) {
        for (std::size_t i = 0; i < packets.size(); ++i) {
            context.fill(0);                                   // a filter may have written to cb
            context[0] = static_cast<u32>(packets[i].size());  // __sk_buff.len
            verdicts[i] = series.run({.context = context.data(), .packet = {packets[i], 0, ethernet_header}});
        }
    });
}

}  // namespace anybpf::embed
