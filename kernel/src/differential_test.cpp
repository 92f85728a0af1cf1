// SPDX-License-Identifier: Apache-2.0
// The same calls to our kernel and to the machine's, where that is of the version we follow: results and errno must
// agree. A descriptor counts as 0; each case is one conversation.
#include <sys/mman.h>
#include <sys/utsname.h>

#include <functional>

#include "anybpf/btf/btf.hpp"
#include "caller.hpp"

namespace anybpf::kernel {

bool LiveKernel::usable(std::string& why) {
    utsname name;
    ::uname(&name);
    if (!std::string_view(name.release).starts_with("6.18")) {
        why = std::string("the machine runs Linux ") + name.release + ", and errno values are compared with 6.18";
        return false;
    }
    LiveKernel live;
    const long map = live.map(abi::MapType::array, 4, 4, 1);
    if (map < 0) why = std::string("bpf(2) is not allowed here: ") + std::strerror(static_cast<int>(-map));
    return map >= 0;
}

namespace {

using abi::MapType;
using abi::ProgType;
using Talk = std::function<void(Caller&, std::vector<long>&)>;

struct Case {
    const char* name;
    Talk talk;
};
void PrintTo(const Case& each, std::ostream* out) { *out << each.name; }

// What is compared as it is, where a result might be a descriptor.
template <class T>
long fact(T value) {
    return 1'000'000 + static_cast<long>(value);
}

std::array<char, abi::name_size> named(const char* text) {
    std::array<char, abi::name_size> name{};
    std::string_view(text).copy(name.data(), name.size());
    return name;
}

// A minimal BTF: int, and for programs a function int f(void) with text for its line.
std::vector<std::byte> small_btf(u32 magic = 0xeb9f) {
    const std::string strings("\0int\0f\0a.c\0return 0;\0", 21);
    const std::vector<u32> types = {
        1, 1U << 24,      4, 32 | 1U << 24,  // [1] INT int, signed
        0, 13U << 24,     1,                 // [2] FUNC_PROTO int (void)
        5, 12U << 24 | 1, 2,                 // [3] FUNC f, global
    };
    const std::vector<u32> header = {magic | 1U << 16,
                                     24,
                                     0,
                                     static_cast<u32>(types.size() * 4),
                                     static_cast<u32>(types.size() * 4),
                                     static_cast<u32>(strings.size())};
    std::vector<std::byte> bytes;
    const auto add = [&](const void* from, std::size_t size) {
        const auto* at = static_cast<const std::byte*>(from);
        bytes.insert(bytes.end(), at, at + size);
    };
    add(header.data(), 24);
    add(types.data(), types.size() * 4);
    add(strings.data(), strings.size());
    return bytes;
}

long load_btf(Caller& k, const std::vector<std::byte>& bytes) {
    uapi::BtfLoad attr{};
    attr.btf = address(bytes.data());
    attr.btf_size = static_cast<u32>(bytes.size());
    return k.keep(k.call(Command::btf_load, attr));
}

struct Func {
    u32 insn, type;
};
struct Line {
    u32 insn, file, line, column;
};

const std::vector<Case>& cases() {
    static const std::vector<Case> all = {
        {"map_create_types",
         [](Caller& k, auto& out) {
             for (const auto type : {MapType::hash, MapType::array, MapType::percpu_hash, MapType::percpu_array,
                                     MapType::prog_array, MapType::perf_event_array})
                 for (const u32 key : {0U, 4U, 8U, 4096U})
                     for (const u32 value : {0U, 4U, 12U})
                         for (const u32 entries : {0U, 1U, 100U}) out.push_back(k.map(type, key, value, entries));
         }},
        {"map_create_flags",
         [](Caller& k, auto& out) {
             for (const auto type : {MapType::hash, MapType::array, MapType::percpu_array, MapType::prog_array,
                                     MapType::perf_event_array, MapType::ringbuf})
                 for (u32 bit = 0; bit < 16; ++bit) {
                     if (bit == 2 || bit == 14) continue;  // NUMA nodes; path descriptors
                     const bool ring = type == MapType::ringbuf;
                     out.push_back(k.map(type, ring ? 0 : 4, ring ? 0 : 4, ring ? 4096 : 2, 1U << bit));
                 }
             out.push_back(k.map(MapType::array, 4, 4, 1, abi::map_rdonly | abi::map_wronly));
             out.push_back(k.map(MapType::array, 4, 4, 1, abi::map_rdonly_prog | abi::map_wronly_prog));
         }},
        {"ringbuf_sizes",
         [](Caller& k, auto& out) {
             for (const u32 entries : {0U, 1U, 4095U, 4096U, 8192U, 12288U})
                 out.push_back(k.map(MapType::ringbuf, 0, 0, entries));
             out.push_back(k.map(MapType::ringbuf, 4, 0, 4096));
             out.push_back(k.map(MapType::ringbuf, 0, 4, 4096));
         }},
        {"map_names",
         [](Caller& k, auto& out) {
             for (const char* name :
                  {"", "fine_name.1", "bad name", "bad-name", "0123456789abcdef", "0123456789abcde"}) {
                 auto attr = Caller::map_attr(MapType::array, 4, 4, 1);
                 attr.map_name = named(name);
                 out.push_back(k.keep(k.call(Command::map_create, attr)));
             }
         }},
        {"map_create_attributes",
         [](Caller& k, auto& out) {
             auto attr = Caller::map_attr(MapType::array, 4, 4, 1);
             attr.map_extra = 1;
             out.push_back(k.call(Command::map_create, attr));
             attr = Caller::map_attr(static_cast<MapType>(0), 4, 4, 1);
             out.push_back(k.call(Command::map_create, attr));
             attr = Caller::map_attr(static_cast<MapType>(99), 4, 4, 1);
             out.push_back(k.call(Command::map_create, attr));
             attr = Caller::map_attr(MapType::array, 4, 4, 1);
             attr.btf_key_type_id = 1;
             out.push_back(k.call(Command::map_create, attr));
             attr.btf_value_type_id = 1;
             attr.btf_fd = 9999;
             out.push_back(k.call(Command::map_create, attr));
             attr.btf_fd = static_cast<u32>(k.map(MapType::array, 4, 4, 1));
             out.push_back(k.call(Command::map_create, attr));
             attr.btf_fd = static_cast<u32>(load_btf(k, small_btf()));
             out.push_back(k.keep(k.call(Command::map_create, attr)));
             attr.value_size = 8;
             out.push_back(k.call(Command::map_create, attr));
             attr.value_size = 4;
             attr.btf_key_type_id = 3;
             out.push_back(k.call(Command::map_create, attr));
             attr.btf_key_type_id = 0;
             out.push_back(k.call(Command::map_create, attr));
             attr.btf_key_type_id = 77;
             out.push_back(k.call(Command::map_create, attr));
             attr.btf_key_type_id = 1;
             for (const auto type :
                  {MapType::hash, MapType::prog_array, MapType::perf_event_array, MapType::percpu_array}) {
                 attr.map_type = static_cast<u32>(type);
                 out.push_back(k.keep(k.call(Command::map_create, attr)));
             }
             attr.btf_key_type_id = 0;
             attr.map_type = static_cast<u32>(MapType::hash);
             out.push_back(k.call(Command::map_create, attr));
         }},
        {"element_arguments",
         [](Caller& k, auto& out) {
             const u64 value = 1;
             u64 room = 0;
             const u32 key = 1, far = 1000;
             for (const auto type : {MapType::hash, MapType::array}) {
                 const long map = k.map(type, 4, 8, 4);
                 for (const auto command :
                      {Command::map_lookup_elem, Command::map_update_elem, Command::map_lookup_and_delete_elem}) {
                     for (const u64 flags : {0ULL, 1ULL, 2ULL, 3ULL, 4ULL, 8ULL, 1ULL << 40}) {
                         out.push_back(k.element(command, map, &key, &value, flags));
                         out.push_back(k.element(command, map, &far, &room, flags));
                     }
                     out.push_back(k.element(command, map, nullptr, &room));
                     out.push_back(k.element(command, map, &key, nullptr));
                     out.push_back(k.element(command, -1, &key, &room));
                     out.push_back(k.element(command, 0, &key, &room));
                 }
                 for (const u32* which : {&key, &far, &key}) {
                     uapi::MapElement attr{};
                     attr.map_fd = static_cast<u32>(map);
                     attr.key = address(which);
                     out.push_back(k.bpf(Command::map_delete_elem, &attr, sizeof(attr)));
                     attr.value = 1;
                     out.push_back(k.bpf(Command::map_delete_elem, &attr, sizeof(attr)));
                 }
             }
         }},
        {"ringbuf_elements",
         [](Caller& k, auto& out) {
             const long map = k.map(MapType::ringbuf, 0, 0, 4096);
             u64 some = 0;
             for (const auto command :
                  {Command::map_lookup_elem, Command::map_update_elem, Command::map_lookup_and_delete_elem})
                 for (const void* key : {static_cast<const void*>(nullptr), static_cast<const void*>(&some)})
                     out.push_back(k.element(command, map, key, &some));
             uapi::MapElement attr{};
             attr.map_fd = static_cast<u32>(map);
             out.push_back(k.call(Command::map_delete_elem, attr));
             attr.value = address(&some);
             out.push_back(k.call(Command::map_get_next_key, attr));
         }},
        {"object_arrays",
         [](Caller& k, auto& out) {
             const long programs = k.map(MapType::prog_array, 4, 4, 2),
                        events = k.map(MapType::perf_event_array, 4, 4, 2);
             const long kprobe = k.load(code::nothing, ProgType::kprobe),
                        tracepoint = k.load(code::nothing, ProgType::tracepoint);
             out.push_back(kprobe);
             out.push_back(tracepoint);
             const u32 key = 0, far = 2;
             u32 value = 0;
             for (const long map : {programs, events}) {
                 for (const long fd : {9999L, 0L, map, kprobe, tracepoint, kprobe}) {
                     value = static_cast<u32>(fd);
                     out.push_back(k.element(Command::map_update_elem, map, &key, &value));
                     out.push_back(k.element(Command::map_update_elem, map, &far, &value));
                     out.push_back(k.element(Command::map_update_elem, map, &key, &value, 1));
                 }
                 u32 read = 0;
                 out.push_back(k.element(Command::map_lookup_elem, map, &key, &read));
                 out.push_back(fact(read != 0));
                 out.push_back(k.element(Command::map_lookup_elem, map, &far, &read));
                 for (const u32* which : {&key, &key, &far}) {
                     uapi::MapElement attr{};
                     attr.map_fd = static_cast<u32>(map);
                     attr.key = address(which);
                     out.push_back(k.call(Command::map_delete_elem, attr));
                 }
             }
         }},
        {"next_key",
         [](Caller& k, auto& out) {
             for (const auto type : {MapType::hash, MapType::array, MapType::percpu_array, MapType::perf_event_array}) {
                 const long map = k.map(type, 4, 4, 2);
                 const u32 one = 1, far = 77;
                 u32 next = 0;
                 for (const u32* key : {static_cast<const u32*>(nullptr), &one, &far}) {
                     out.push_back(k.element(Command::map_get_next_key, map, key, &next));
                     if (out.back() == 0) out.push_back(fact(next));
                 }
                 out.push_back(k.element(Command::map_get_next_key, map, &one, nullptr));
                 out.push_back(k.element(Command::map_get_next_key, map, &one, &next, 1));
             }
         }},
        {"freeze",
         [](Caller& k, auto& out) {
             const auto freeze = [&](long fd) {
                 out.push_back(k.call(Command::map_freeze, uapi::MapFreeze{.map_fd = static_cast<u32>(fd)}));
             };
             const long map = k.map(MapType::array, 4, 4, 1),
                        readable = k.map(MapType::array, 4, 4, 1, abi::map_rdonly);
             freeze(map);
             freeze(map);
             freeze(readable);
             freeze(-1);
             freeze(k.load(code::nothing, ProgType::kprobe));
             u32 key = 0, value = 0;
             out.push_back(k.element(Command::map_update_elem, map, &key, &value));
             out.push_back(k.element(Command::map_lookup_elem, map, &key, &value));
         }},
        {"batches",
         [](Caller& k, auto& out) {
             std::array<u32, 8> keys{0, 1, 2, 3}, values{};
             u64 token = 0;
             for (const auto type : {MapType::array, MapType::prog_array, MapType::ringbuf}) {
                 const bool ring = type == MapType::ringbuf;
                 const long map = k.map(type, ring ? 0 : 4, ring ? 0 : 4, ring ? 4096 : 4);
                 for (const auto command : {Command::map_lookup_batch, Command::map_update_batch,
                                            Command::map_delete_batch, Command::map_lookup_and_delete_batch})
                     for (const u32 count : {0U, 2U, 8U}) {
                         uapi::MapBatch attr{.in_batch = 0,
                                             .out_batch = address(&token),
                                             .keys = address(keys.data()),
                                             .values = address(values.data()),
                                             .count = count,
                                             .map_fd = static_cast<u32>(map),
                                             .elem_flags = 0,
                                             .flags = 0};
                         keys = {0, 1, 2, 3, 4, 5, 6, 7};
                         out.push_back(k.call(command, attr));
                         if (command == Command::map_lookup_batch && type == MapType::array)
                             out.push_back(fact(attr.count));
                         attr.elem_flags = 64;
                         attr.count = 2;
                         out.push_back(k.call(command, attr));
                     }
             }
         }},
        {"load_attributes",
         [](Caller& k, auto& out) {
             const auto with = [&](auto&& change) {
                 auto attr = k.program(code::nothing, ProgType::kprobe);
                 change(attr);
                 out.push_back(k.keep(k.call(Command::prog_load, attr)));
             };
             with([](auto&) {});
             with([](auto& a) { a.insn_cnt = 0; });
             with([](auto& a) { a.insn_cnt = 1000001; });
             with([](auto& a) { a.insns = 0; });
             with([](auto& a) { a.insns = 16; });
             with([](auto& a) { a.license = 0; });
             with([](auto& a) { a.prog_type = 0; });
             with([](auto& a) { a.prog_type = 77; });
             with([](auto& a) { a.prog_flags = 1U << 30; });
             with([](auto& a) { a.prog_flags = 1; });
             with([](auto& a) { a.prog_name = named("bad name"); });
             with([](auto& a) { a.prog_name = named("0123456789abcdef"); });
             with([](auto& a) { a.expected_attach_type = 42; });
             with([](auto& a) { a.expected_attach_type = 999; });
             with([](auto& a) { a.attach_btf_id = 1; });
             with([](auto& a) { a.attach_prog_fd = 9999; });
             with([](auto& a) { a.prog_btf_fd = 9999; });
             with([](auto& a) { a.log_level = 1; });
             with([](auto& a) { a.log_level = 16; });
             with([](auto& a) { a.log_size = 100; });
             static std::array<char, 4096> log;
             with([](auto& a) { a.log_buf = address(log.data()); });
             with([](auto& a) {
                 a.log_buf = address(log.data());
                 a.log_size = 4096;
             });
             with([](auto& a) {
                 a.log_buf = address(log.data());
                 a.log_size = 4096;
                 a.log_level = 1;
             });
             with([](auto& a) {
                 a.log_buf = address(log.data());
                 a.log_size = 4;
                 a.log_level = 1;
             });
             with([](auto& a) {
                 a.log_buf = 16;
                 a.log_size = 4096;
                 a.log_level = 1;
             });
             with([](auto& a) { a.func_info_cnt = 1; });
             with([](auto& a) { a.line_info_cnt = 1; });
         }},
        {"load_instructions",
         [](Caller& k, auto& out) {
             using isa::Insn;
             const std::vector<std::vector<Insn>> programs = {
                 {code::exit()},                                                              // r0 unset
                 {code::mov(0, 0)},                                                           // no exit
                 {{.code = 0xff}, code::exit()},                                              // no such instruction
                 {code::mov(0, 0), {.code = 0x05, .off = 5}, code::exit()},                   // jump out
                 {code::mov(0, 0), code::exit(), code::mov(0, 0), code::exit()},              // unreachable
                 {code::load64(0, 1, 4096), code::exit()},                                    // beyond the context
                 {code::load64(0, 10, 8), code::exit()},                                      // beyond the stack
                 {code::call(9999), code::exit()},                                            // no such helper
                 {code::lddw(1, 1, 9999), code::lddw_rest(), code::mov(0, 0), code::exit()},  // a bad descriptor
                 {code::lddw(1, 1, 0), code::lddw_rest(), code::mov(0, 0), code::exit()},     // of something else
                 {code::lddw(1, 5, 0), code::lddw_rest(), code::mov(0, 0), code::exit()},     // index without array
                 {code::lddw(1, 9, 0), code::lddw_rest(), code::mov(0, 0), code::exit()},
                 {code::mov(0, 0), code::lddw(1, 0, 0)},
                 {code::mov(0, 0), {.code = 0x05, .off = -2}, code::exit()},  // endless
                 {code::call_function(-1), code::exit()},                     // recursive
             };
             for (const auto& insns : programs) out.push_back(k.load(insns, ProgType::kprobe));
         }},
        {"direct_values",
         [](Caller& k, auto& out) {
             const long array = k.map(MapType::array, 4, 16, 1), many = k.map(MapType::array, 4, 16, 2),
                        hash = k.map(MapType::hash, 4, 16, 1);
             for (const long map : {array, many, hash})
                 for (const i32 offset : {0, 8, 15, 16, 1 << 29, -1})
                     out.push_back(
                         k.load(std::vector<isa::Insn>{code::lddw(1, 2, static_cast<i32>(map)), code::lddw_rest(offset),
                                                       code::mov(0, 0), code::exit()},
                                ProgType::kprobe));
         }},
        {"func_and_line_info",
         [](Caller& k, auto& out) {
             const long btf = load_btf(k, small_btf());
             out.push_back(btf);
             const std::vector<isa::Insn> two = {code::call_function(1), code::exit(), code::mov(0, 0), code::exit()};
             const auto with = [&](std::vector<Func> funcs, std::vector<Line> lines, auto&& change) {
                 auto attr = k.program(two, ProgType::kprobe);
                 attr.prog_btf_fd = static_cast<u32>(btf);
                 attr.func_info = address(funcs.data());
                 attr.func_info_cnt = static_cast<u32>(funcs.size());
                 attr.func_info_rec_size = sizeof(Func);
                 attr.line_info = address(lines.data());
                 attr.line_info_cnt = static_cast<u32>(lines.size());
                 attr.line_info_rec_size = sizeof(Line);
                 change(attr);
                 out.push_back(k.keep(k.call(Command::prog_load, attr)));
             };
             const auto same = [](auto&) {};
             const std::vector<Func> funcs = {{0, 3}, {2, 3}};
             const std::vector<Line> lines = {{0, 7, 11, 1024}, {2, 7, 11, 2048}};
             with(funcs, lines, same);
             with(funcs, {}, same);
             with({}, lines, same);
             with({{0, 3}}, lines, same);
             with({{0, 3}, {1, 3}}, lines, same);
             with({{1, 3}, {2, 3}}, lines, same);
             with({{0, 3}, {0, 3}}, lines, same);
             with({{0, 2}, {2, 3}}, lines, same);
             with({{0, 99}, {2, 3}}, lines, same);
             with(funcs, {{0, 7, 11, 0}}, same);
             with(funcs, {{1, 7, 11, 0}, {2, 7, 11, 0}}, same);
             with(funcs, {{0, 7, 11, 0}, {9, 7, 11, 0}}, same);
             with(funcs, {{0, 7, 11, 0}, {0, 7, 11, 0}}, same);
             with(funcs, {{0, 99, 11, 0}, {2, 7, 11, 0}}, same);
             with(funcs, lines, [](auto& a) { a.func_info_rec_size = 4; });
             with(funcs, lines, [](auto& a) { a.func_info_rec_size = 10; });
             with(funcs, lines, [](auto& a) { a.func_info_rec_size = 16; });
             with(funcs, lines, [](auto& a) { a.func_info_rec_size = 256; });
             with(funcs, lines, [](auto& a) { a.line_info_rec_size = 8; });
             with(funcs, lines, [](auto& a) { a.line_info_rec_size = 32; });
             with(funcs, lines, [](auto& a) { a.func_info = 16; });
             with(funcs, lines, [](auto& a) { a.prog_btf_fd = 9999; });
             with(funcs, lines, [](auto& a) { a.prog_btf_fd = 0; });
         }},
        {"btf_load",
         [](Caller& k, auto& out) {
             auto bytes = small_btf();
             out.push_back(load_btf(k, bytes));
             out.push_back(load_btf(k, small_btf(0x1234)));
             for (std::size_t size = 0; size < bytes.size(); size += 7)
                 out.push_back(
                     load_btf(k, std::vector(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size))));
             const auto with = [&](auto&& change) {
                 uapi::BtfLoad attr{};
                 attr.btf = address(bytes.data());
                 attr.btf_size = static_cast<u32>(bytes.size());
                 change(attr);
                 out.push_back(k.keep(k.call(Command::btf_load, attr)));
             };
             with([](auto& a) { a.btf = 16; });
             with([](auto& a) { a.btf_size = 17 << 20; });
             with([](auto& a) { a.btf_log_level = 1; });
             with([](auto& a) { a.btf_log_size = 4096; });
             with([](auto& a) { a.btf_flags = 1; });
         }},
        {"prog_tags_and_info",
         [](Caller& k, auto& out) {
             const long map = k.map(MapType::array, 4, 8, 1);
             for (const auto& insns :
                  {code::nothing, code::count(map),
                   std::vector<isa::Insn>{code::lddw(1, 2, static_cast<i32>(map)), code::lddw_rest(4), code::mov(0, 3),
                                          code::exit()},
                   std::vector<isa::Insn>{code::lddw(1, 0, 12345), code::lddw_rest(6), code::mov(0, 3), code::exit()},
                   std::vector<isa::Insn>{code::call_function(1), code::exit(), code::mov(0, 0), code::exit()}}) {
                 const long program = k.load(insns, ProgType::kprobe);
                 if (program < 0) {
                     out.push_back(program);
                     continue;
                 }
                 const auto info = k.info<uapi::ProgInfo>(program);
                 for (const u8 byte : info.tag) out.push_back(fact(byte));
                 out.push_back(fact(info.type));
                 out.push_back(fact(info.nr_map_ids));
                 out.push_back(fact(info.gpl_compatible));
                 out.push_back(fact(info.func_info_rec_size));
                 out.push_back(fact(info.line_info_rec_size));
             }
         }},
        {"licences",
         [](Caller& k, auto& out) {
             for (const char* license : {"", "GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL",
                                         "Dual MIT/GPL", "Dual MPL/GPL", "Proprietary", "gpl", "MIT", "GPL "}) {
                 auto attr = k.program(code::nothing, ProgType::kprobe);
                 attr.license = address(license);
                 const long program = k.keep(k.call(Command::prog_load, attr));
                 out.push_back(fact(k.info<uapi::ProgInfo>(program).gpl_compatible));
             }
         }},
        {"info_arguments",
         [](Caller& k, auto& out) {
             std::array<u64, 64> room{};
             const long map = k.map(MapType::array, 4, 8, 1), program = k.load(code::nothing, ProgType::kprobe),
                        btf = load_btf(k, small_btf());
             for (const long fd : {map, program, btf, 0L, 9999L})
                 for (const u32 length : {0U, 8U, 80U, 300U, 5000U}) {
                     room = {};
                     uapi::GetInfo attr{
                         .bpf_fd = static_cast<u32>(fd), .info_len = length, .info = address(room.data())};
                     out.push_back(k.call(Command::obj_get_info_by_fd, attr));
                     out.push_back(fact(attr.info_len));
                 }
             for (const long fd : {map, program, btf}) {
                 uapi::GetInfo attr{.bpf_fd = static_cast<u32>(fd), .info_len = 64, .info = 16};
                 out.push_back(k.call(Command::obj_get_info_by_fd, attr));
                 room = {};
                 room[50] = 1;
                 attr.info_len = 448;
                 attr.info = address(room.data());
                 out.push_back(k.call(Command::obj_get_info_by_fd, attr));
             }
             uapi::ProgInfo wrong{};
             wrong.nr_func_info = 1;
             uapi::GetInfo attr{
                 .bpf_fd = static_cast<u32>(program), .info_len = sizeof(wrong), .info = address(&wrong)};
             out.push_back(k.call(Command::obj_get_info_by_fd, attr));
             uapi::BtfInfo named_without_room{};
             named_without_room.name = address(room.data());
             attr = {.bpf_fd = static_cast<u32>(btf),
                     .info_len = sizeof(named_without_room),
                     .info = address(&named_without_room)};
             out.push_back(k.call(Command::obj_get_info_by_fd, attr));
         }},
        {"ids",
         [](Caller& k, auto& out) {
             for (const auto command : {Command::map_get_fd_by_id, Command::prog_get_fd_by_id,
                                        Command::btf_get_fd_by_id, Command::link_get_fd_by_id})
                 for (const u32 id : {0U, 0x7ffffffeU, ~0U}) {
                     uapi::GetId attr{};
                     attr.id = id;
                     out.push_back(k.call(command, attr));
                     attr.open_flags = 1;
                     out.push_back(k.call(command, attr));
                 }
             for (const auto command : {Command::map_get_next_id, Command::prog_get_next_id, Command::btf_get_next_id,
                                        Command::link_get_next_id})
                 for (const u32 id : {0x7ffffffeU, 0x7fffffffU, ~0U}) {
                     uapi::GetId attr{};
                     attr.id = id;
                     out.push_back(k.call(command, attr));
                     attr.open_flags = 1;
                     out.push_back(k.call(command, attr));
                 }
         }},
        {"links",
         [](Caller& k, auto& out) {
             const long kprobe = k.load(code::nothing, ProgType::kprobe),
                        raw = k.load(code::nothing, ProgType::raw_tracepoint),
                        tracepoint = k.load(code::nothing, ProgType::tracepoint), map = k.map(MapType::array, 4, 4, 1);
             for (const long program : {kprobe, raw, tracepoint, map, 9999L})
                 for (const auto attach : {abi::AttachType::perf_event, abi::AttachType::cgroup_inet_ingress,
                                           abi::AttachType::trace_fentry})
                     for (const long target : {-1L, 0L, map}) {
                         uapi::LinkCreate attr{};
                         attr.prog_fd = static_cast<u32>(program);
                         attr.target_fd = static_cast<u32>(target);
                         attr.attach_type = static_cast<u32>(attach);
                         out.push_back(k.call(Command::link_create, attr));
                         attr.flags = 1;
                         out.push_back(k.call(Command::link_create, attr));
                     }
             for (const long fd : {9999L, kprobe}) {
                 out.push_back(k.call(Command::link_detach, uapi::LinkDetach{.link_fd = static_cast<u32>(fd)}));
                 out.push_back(k.call(Command::link_update, uapi::LinkUpdate{.link_fd = static_cast<u32>(fd),
                                                                             .new_prog_fd = static_cast<u32>(kprobe),
                                                                             .flags = 0,
                                                                             .old_prog_fd = 0}));
                 out.push_back(
                     k.call(Command::link_update,
                            uapi::LinkUpdate{
                                .link_fd = static_cast<u32>(fd), .new_prog_fd = 0, .flags = 128, .old_prog_fd = 0}));
             }
         }},
        {"raw_tracepoints",
         [](Caller& k, auto& out) {
             const long raw = k.load(code::nothing, ProgType::raw_tracepoint),
                        kprobe = k.load(code::nothing, ProgType::kprobe);
             const long far =
                 k.load(std::vector<isa::Insn>{code::load64(0, 1, 16), code::exit()}, ProgType::raw_tracepoint);
             out.push_back(far);
             const auto open = [&](u64 name, long program) {
                 uapi::RawTracepointOpen attr{
                     .name = name, .prog_fd = static_cast<u32>(program), .pad = 0, .cookie = 0};
                 out.push_back(k.keep(k.call(Command::raw_tracepoint_open, attr)));
             };
             open(address("sys_enter"), raw);
             open(address("sys_exit"), far);
             open(address("no_such_tracepoint"), raw);
             open(address(""), raw);
             open(16, raw);
             open(address("sys_enter"), kprobe);
             open(address("sys_enter"), 9999);
             open(address("sys_enter"), 0);
         }},
        {"link_of_a_raw_tracepoint",
         [](Caller& k, auto& out) {
             const long raw = k.load(code::nothing, ProgType::raw_tracepoint);
             uapi::RawTracepointOpen attr{
                 .name = address("sys_enter"), .prog_fd = static_cast<u32>(raw), .pad = 0, .cookie = 7};
             const long link = k.keep(k.call(Command::raw_tracepoint_open, attr));
             out.push_back(k.call(Command::link_detach, uapi::LinkDetach{.link_fd = static_cast<u32>(link)}));
             out.push_back(k.call(Command::link_update, uapi::LinkUpdate{.link_fd = static_cast<u32>(link),
                                                                         .new_prog_fd = static_cast<u32>(raw),
                                                                         .flags = 0,
                                                                         .old_prog_fd = 0}));
             for (const u32 room : {0U, 1U, 9U, 10U, 64U}) {
                 std::array<char, 64> name{};
                 uapi::LinkInfo info{};
                 info.raw_tracepoint.tp_name = room != 0 ? address(name.data()) : 0;
                 info.raw_tracepoint.tp_name_len = room;
                 uapi::GetInfo get{.bpf_fd = static_cast<u32>(link), .info_len = sizeof(info), .info = address(&info)};
                 out.push_back(k.call(Command::obj_get_info_by_fd, get));
                 if (out.back() == 0) {
                     out.push_back(fact(info.type));
                     out.push_back(fact(info.raw_tracepoint.tp_name_len));
                     out.push_back(fact(static_cast<long>(info.raw_tracepoint.cookie)));
                 }
                 out.push_back(fact(static_cast<long>(std::strlen(name.data()))));
             }
         }},
        {"test_run",
         [](Caller& k, auto& out) {
             const long raw =
                 k.load(std::vector<isa::Insn>{code::load64(0, 1, 8), code::exit()}, ProgType::raw_tracepoint);
             const long packet = k.load(std::vector<isa::Insn>{code::mov(0, 5), code::exit()}, ProgType::socket_filter);
             std::array<u64, 32> bytes{1, 42};
             const auto with = [&](long program, auto&& change) {
                 uapi::TestRun attr{};
                 attr.prog_fd = static_cast<u32>(program);
                 change(attr);
                 out.push_back(k.call(Command::prog_test_run, attr));
                 if (out.back() == 0) out.push_back(fact(attr.retval));
             };
             with(raw, [](auto&) {});
             with(raw, [&](auto& a) {
                 a.ctx_in = address(bytes.data());
                 a.ctx_size_in = 16;
             });
             with(raw, [&](auto& a) {
                 a.ctx_in = address(bytes.data());
                 a.ctx_size_in = 8;
             });
             with(raw, [&](auto& a) {
                 a.ctx_in = address(bytes.data());
                 a.ctx_size_in = 96;
             });
             with(raw, [&](auto& a) {
                 a.ctx_in = address(bytes.data());
                 a.ctx_size_in = 104;
             });
             with(raw, [&](auto& a) {
                 a.ctx_in = 16;
                 a.ctx_size_in = 16;
             });
             with(raw, [&](auto& a) { a.ctx_in = address(bytes.data()); });
             with(raw, [&](auto& a) {
                 a.ctx_in = address(bytes.data());
                 a.ctx_size_in = 16;
                 a.repeat = 2;
             });
             with(raw, [&](auto& a) {
                 a.ctx_in = address(bytes.data());
                 a.ctx_size_in = 16;
                 a.cpu = 1;
             });
             with(raw, [&](auto& a) {
                 a.ctx_in = address(bytes.data());
                 a.ctx_size_in = 16;
                 a.flags = 1;
                 a.cpu = 60000;
             });
             with(raw, [&](auto& a) {
                 a.data_in = address(bytes.data());
                 a.data_size_in = 16;
             });
             with(packet, [](auto&) {});
             with(packet, [&](auto& a) {
                 a.data_in = address(bytes.data());
                 a.data_size_in = 13;
             });
             with(packet, [&](auto& a) {
                 a.data_in = address(bytes.data());
                 a.data_size_in = 14;
             });
             with(packet, [&](auto& a) {
                 a.data_in = address(bytes.data());
                 a.data_size_in = 64;
                 a.repeat = 3;
             });
             with(packet, [&](auto& a) {
                 a.data_in = address(bytes.data());
                 a.data_size_in = 64;
                 a.cpu = 3;
             });
             with(packet, [&](auto& a) {
                 a.data_in = 16;
                 a.data_size_in = 64;
             });
             with(9999, [](auto&) {});
             with(0, [](auto&) {});
         }},
        {"test_run_packets",
         [](Caller& k, auto& out) {
             const long packet = k.load(std::vector<isa::Insn>{code::mov(0, 5), code::exit()}, ProgType::socket_filter);
             for (const u32 protocol : {0x0800U, 0x86ddU, 0x0806U, 0x0100U})
                 for (const u32 size : {14U, 33U, 34U, 53U, 54U, 64U})
                     for (const u32 room : {0U, 20U, 64U}) {
                         std::array<u8, 64> data{}, back{};
                         for (u32 i = 0; i < size; ++i) data[i] = static_cast<u8>(i + 1);
                         data[12] = static_cast<u8>(protocol >> 8), data[13] = static_cast<u8>(protocol);
                         uapi::TestRun attr{};
                         attr.prog_fd = static_cast<u32>(packet);
                         attr.data_in = address(data.data());
                         attr.data_size_in = size;
                         attr.data_out = address(back.data());
                         attr.data_size_out = room;
                         out.push_back(k.call(Command::prog_test_run, attr));
                         out.push_back(fact(attr.data_size_out));
                         u32 sum = 0;
                         for (u32 i = 0; i < back.size(); ++i) sum += (i + 1) * back[i];
                         out.push_back(fact(sum));
                     }
         }},
        {"bind_map",
         [](Caller& k, auto& out) {
             const long program = k.load(code::nothing, ProgType::kprobe), map = k.map(MapType::array, 4, 4, 1);
             const auto bind = [&](long p, long m, u32 flags) {
                 out.push_back(k.call(
                     Command::prog_bind_map,
                     uapi::ProgBindMap{.prog_fd = static_cast<u32>(p), .map_fd = static_cast<u32>(m), .flags = flags}));
             };
             bind(program, map, 0);
             bind(program, map, 0);
             bind(program, map, 1);
             bind(map, program, 0);
             bind(9999, map, 0);
             bind(program, 9999, 0);
             out.push_back(fact(k.info<uapi::ProgInfo>(program).nr_map_ids));
         }},
        {"pins",
         [](Caller& k, auto& out) {
             const long map = k.map(MapType::array, 4, 4, 1), btf = load_btf(k, small_btf());
             for (const char* path : {"/tmp/anybpf-no-such-directory/x", "/tmp"})
                 for (const long fd : {map, btf, 0L, 9999L}) {
                     uapi::Object attr{};
                     attr.pathname = address(path);
                     attr.bpf_fd = static_cast<u32>(fd);
                     if (std::string_view(path) == "/tmp" || fd != map)
                         out.push_back(fd == map ? 0 : k.call(Command::obj_pin, attr));
                     attr.bpf_fd = 0;
                     out.push_back(k.call(Command::obj_get, attr));
                     attr.file_flags = 1;
                     out.push_back(k.call(Command::obj_get, attr));
                 }
         }},
        {"perf_event_open",
         [](Caller& k, auto& out) {
             const auto open = [&](auto&& change, int pid = -1, int cpu = 0, int group = -1, unsigned long flags = 0) {
                 uapi::PerfEventAttr attr{};
                 attr.type = uapi::perf_type_software;
                 attr.config = uapi::perf_config_bpf_output;
                 attr.size = sizeof(attr);
                 change(attr);
                 out.push_back(k.keep(k.perf_event_open(&attr, pid, cpu, group, flags)));
                 out.push_back(fact(attr.size));
             };
             const auto same = [](auto&) {};
             open(same);
             open([](auto& a) { a.size = 0; });
             open([](auto& a) { a.size = 63; });
             open([](auto& a) { a.size = 64; });
             open([](auto& a) { a.size = 72; });
             open([](auto& a) { a.size = 5000; });
             open([](auto& a) { a.bits = 1ULL << 63; });
             open([](auto& a) { a.reserved_2 = 1; });
             open([](auto& a) { a.sample_type = 1ULL << 40; });
             open([](auto& a) { a.read_format = 1ULL << 40; });
             open([](auto& a) { a.type = 999; });
             open([](auto& a) {
                 a.type = uapi::perf_type_tracepoint;
                 a.config = 0xffffff;
             });
             open(same, -1, -1);
             open(same, -1, 100000);
             open(same, 0x3fffffff, 0);
             open(same, -1, 0, 9999);
             open(same, -1, 0, -1, 1U << 20);
             open(same, -1, 0, -1, uapi::perf_flag_fd_cloexec);
             out.push_back(k.perf_event_open(nullptr, -1, 0, -1, 0));
         }},
        {"perf_ioctls",
         [](Caller& k, auto& out) {
             uapi::PerfEventAttr attr{};
             attr.type = uapi::perf_type_software;
             attr.config = uapi::perf_config_bpf_output;
             const int event = static_cast<int>(k.keep(k.perf_event_open(&attr, -1, 0, -1, 0)));
             const long kprobe = k.load(code::nothing, ProgType::kprobe);
             for (const unsigned long request :
                  {uapi::perf_ioc_enable, uapi::perf_ioc_disable, uapi::perf_ioc_reset, 0x24ffUL})
                 out.push_back(k.ioctl(event, request, 0));
             for (const long fd : {9999L, 0L, kprobe})
                 out.push_back(k.ioctl(event, uapi::perf_ioc_set_bpf, static_cast<unsigned long>(fd)));
             u64 id = 0;
             out.push_back(k.ioctl(event, uapi::perf_ioc_id, address(&id)));
             out.push_back(k.ioctl(event, uapi::perf_ioc_id, 16));
             out.push_back(k.ioctl(event, uapi::perf_ioc_query_bpf, address(&id)));
         }},
        {"commands_with_rubbish",
         [](Caller& k, auto& out) {
             // All bytes behind the last member set; and nothing at all.
             for (u32 command = 0; command < uapi::command_count; ++command) {
                 std::array<std::byte, uapi::attr_size> attr{};
                 attr.back() = std::byte{1};
                 if (command != static_cast<u32>(Command::prog_load))
                     out.push_back(k.bpf(static_cast<Command>(command), attr.data(), attr.size()));
                 out.push_back(k.bpf(static_cast<Command>(command), nullptr, 64));
             }
             out.push_back(k.bpf(static_cast<Command>(uapi::command_count), nullptr, 0));
             std::array<std::byte, 8> nothing{};
             out.push_back(k.bpf(static_cast<Command>(1000), nothing.data(), 8));
         }},
    };
    return all;
}

class Differential : public testing::TestWithParam<Case> {};

TEST_P(Differential, Agrees) {
    std::string why;
    if (!LiveKernel::usable(why)) GTEST_SKIP() << why;
    OurKernel us;
    LiveKernel live;
    std::vector<long> ours, theirs;
    GetParam().talk(us, ours);
    GetParam().talk(live, theirs);
    ASSERT_EQ(ours.size(), theirs.size());
    ASSERT_FALSE(ours.empty());
    const auto plain = [](long result) { return result > 0 && result < fact(0) ? 0 : result; };
    for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_EQ(plain(ours[i]), plain(theirs[i])) << "answer " << i;
}

INSTANTIATE_TEST_SUITE_P(Live, Differential, testing::ValuesIn(cases()),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace anybpf::kernel
