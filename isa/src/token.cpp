// SPDX-License-Identifier: Apache-2.0
#include "token.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace anybpf::isa {
namespace {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '.' || c == '$';
}

// Longest first where one is the start of another.
constexpr auto symbols = std::to_array<std::string_view>(
    {"s>>=", "<<=", ">>=", "s/=", "s%=", "s>=", "s<=", "s>", "s<", "+=", "-=", "*=", "/=",
     "|=",   "&=",  "%=",  "^=",  "==",  "!=",  ">=",  "<=", ">",  "<",  "&",  "=",  "(",
     ")",    "[",   "]",   ",",   "*",   "+",   "-",   ":",  "#",  "@",  "%",  "{",  "}"});

Result<Token> number(std::string_view& rest) {
    const bool hex = rest.starts_with("0x") || rest.starts_with("0X");
    const char* first = rest.data() + (hex ? 2 : 0);
    Token token{Token::Type::number, {}, 0};
    const auto [last, error] = std::from_chars(first, rest.data() + rest.size(), token.value, hex ? 16 : 10);
    token.text = rest.substr(0, static_cast<std::size_t>(last - rest.data()));
    rest.remove_prefix(token.text.size());
    if (error == std::errc::result_out_of_range)
        return fail(Errc::malformed, fmt::format("number {} does not fit in 64 bits", token.text));
    if (error != std::errc{} || (!rest.empty() && is_word(rest.front())))
        return fail(Errc::malformed, fmt::format("number {}{} is malformed", token.text, rest.substr(0, 1)));
    return token;
}

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view rest, Hash hash) {
    std::vector<Token> tokens;
    bool spaced = true;  // a # right after a word belongs to it: call bpf_loop#181
    while (!rest.empty()) {
        const char c = rest.front();
        if (c == ' ' || c == '\t' || c == '\r') {
            spaced = true;
            rest.remove_prefix(1);
            continue;
        }
        if (c == ';' || rest.starts_with("//") || (c == '#' && spaced && hash == Hash::starts_comment)) break;
        if (is_digit(c)) {
            tokens.push_back(ANYBPF_TRY(number(rest)));
        } else {
            Token token{Token::Type::symbol, {}, 0};
            for (const std::string_view symbol : symbols)
                if (token.text.empty() && rest.starts_with(symbol)) token.text = rest.substr(0, symbol.size());
            if (token.text.empty()) {
                std::size_t length = 0;
                while (length < rest.size() && is_word(rest[length])) ++length;
                if (length == 0) return fail(Errc::malformed, fmt::format("character {:#04x} is out of place", u8(c)));
                token = {Token::Type::word, rest.substr(0, length), 0};
            }
            rest.remove_prefix(token.text.size());
            tokens.push_back(token);
        }
        spaced = false;
    }
    tokens.push_back({});
    return tokens;
}

tl::unexpected<Error> TokenReader::unexpected(std::string_view wanted) const {
    if (done()) return fail(Errc::malformed, fmt::format("expected {} at the end of the line", wanted));
    return fail(Errc::malformed, fmt::format("expected {}, not '{}'", wanted, peek().text));
}

Result<> TokenReader::expect(std::string_view text) {
    if (accept(text)) return {};
    return unexpected(fmt::format("'{}'", text));
}

bool TokenReader::at_integer() const {
    return peek().type == Token::Type::number || ((is("-") || is("+")) && peek(1).type == Token::Type::number);
}

Result<i64> TokenReader::integer(std::string_view what, i64 low, u64 high) {
    if (!at_integer()) return unexpected(what);
    const bool negative = is("-");
    if (peek().type == Token::Type::symbol) next();
    const u64 magnitude = next().value;
    if (negative ? magnitude > 0 - static_cast<u64>(low) : magnitude > high)
        return fail(Errc::malformed, fmt::format("{} {}{:#x} is out of range", what, negative ? "-" : "", magnitude));
    return static_cast<i64>(negative ? 0 - magnitude : magnitude);
}

}  // namespace anybpf::isa
