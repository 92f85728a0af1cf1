// SPDX-License-Identifier: Apache-2.0
// fmt, compiled into our own archive: Debian ships it as a shared library only, and the agent must not bring one into
// its host. Without locales, for the same reason: they are most of libstdc++, and thousands of relocations at each exec.
// So are the classes of exceptions: a wrong format is a bug of ours, which asserts, and what would make an error of the
// system's is not among the functions that are kept here.
#include "anybpf/base/assert.hpp"
#define FMT_STATIC_THOUSANDS_SEPARATOR ','
#define FMT_THROW(error) ::anybpf::assertion_failed("a format", __FILE__, __LINE__)
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <fmt/format.h>
#undef FMT_FUNC
#define FMT_FUNC inline

FMT_BEGIN_NAMESPACE
[[gnu::used]] auto vformat(string_view, format_args) -> std::string;
[[gnu::used]] void vprint(string_view, format_args);
[[gnu::used]] void vprint(std::FILE*, string_view, format_args);
namespace detail {
[[gnu::used]] void assert_fail(const char*, int, const char*);
[[gnu::used]] void throw_format_error(const char*);
[[gnu::used]] auto is_printable(std::uint32_t) -> bool;
}  // namespace detail
FMT_END_NAMESPACE

#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {
template FMT_API auto dragonbox::to_decimal(float x) noexcept -> dragonbox::decimal_fp<float>;
template FMT_API auto dragonbox::to_decimal(double x) noexcept -> dragonbox::decimal_fp<double>;
template FMT_API auto thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template FMT_API auto decimal_point_impl(locale_ref) -> char;
template FMT_API void buffer<char>::append(const char*, const char*);
template FMT_API void vformat_to(buffer<char>&, string_view, basic_format_args<FMT_BUFFER_CONTEXT(char)>, locale_ref);
template FMT_API auto thousands_sep_impl(locale_ref) -> thousands_sep_result<wchar_t>;
template FMT_API auto decimal_point_impl(locale_ref) -> wchar_t;
template FMT_API void buffer<wchar_t>::append(const wchar_t*, const wchar_t*);
}  // namespace detail
FMT_END_NAMESPACE
