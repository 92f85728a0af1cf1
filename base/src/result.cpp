// SPDX-License-Identifier: Apache-2.0
#include "anybpf/base/result.hpp"

#include <cerrno>
#include <cstring>

namespace anybpf {

std::string_view to_string(Errc code) {
    switch (code) {
#define ANYBPF_ERRC(name, text) \
    case Errc::name:            \
        return text;
#include "anybpf/base/errc.def"
    }
    return "unknown error";
}

tl::unexpected<Error> fail_errno(std::string_view what, std::string_view object) {
    const int error = errno;
    auto code = Errc::io;
    if (error == ENOENT) code = Errc::not_found;
    if (error == EEXIST) code = Errc::already_exists;
    if (error == EACCES || error == EPERM) code = Errc::permission_denied;
    if (error == ENOMEM || error == ENOSPC) code = Errc::out_of_memory;
    std::string message(what);
    if (!object.empty()) message.append(" ").append(object);
    message.append(": ").append(std::strerror(error));
    return fail(code, std::move(message), error);
}

}  // namespace anybpf
