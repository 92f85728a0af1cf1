// SPDX-License-Identifier: Apache-2.0
// BTF_LOAD: checked by btf/, kept as a file.
#include "io.hpp"
#include "log.hpp"
#include "state.hpp"

namespace anybpf::kernel {

namespace uapi = abi::uapi;

Result<long> Kernel::State::btf_load(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::BtfLoad>());
    if (in.btf_flags != 0) return refuse(EINVAL, "BTF flags are not supported");
    if (in.btf_size > uapi::max_btf_size) return refuse(E2BIG, "BTF larger than 16 MiB");
    const Log log{.level = in.btf_log_level, .size = in.btf_log_size, .buffer = in.btf_log_buf};
    ANYBPF_TRY(log.check());
    const auto bytes = ANYBPF_TRY(read_user_table<std::byte>(in.btf, in.btf_size));
    const auto parsed = btf::Btf::parse(bytes);
    u32 true_size = 0;
    const auto logged = log.finish(parsed ? std::string() : parsed.error().message + "\n", true_size);
    if (attr.size() >= offsetof(uapi::BtfLoad, btf_log_true_size) + sizeof(u32))
        ANYBPF_TRY(attr.put(offsetof(uapi::BtfLoad, btf_log_true_size), true_size));
    if (!logged) return tl::make_unexpected(logged.error());
    if (!parsed) return tl::make_unexpected(parsed.error());

    Birth birth = ANYBPF_TRY(root.begin(ObjectKind::btf, bytes.size()));
    if (!write_at(birth.file.get(), bytes, 0)) return fail_errno("writing a BTF object's file");
    Fd file = ANYBPF_TRY(root.publish(std::move(birth)));
    born();
    return file.release();
}

}  // namespace anybpf::kernel
