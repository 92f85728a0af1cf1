// SPDX-License-Identifier: Apache-2.0
// The words of assembler text, of both instruction sets.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anybpf/base/result.hpp"

namespace anybpf::isa {

struct Token {
    enum class Type : u8 { word, number, symbol, end } type = Type::end;
    std::string_view text;
    u64 value = 0;  // of a number
};

// Whether a # that follows no word starts a comment, or is a token: classic BPF marks constants with it.
enum class Hash : u8 { starts_comment, is_token };
// The tokens of one line, closed by one of type end; comments are dropped.
Result<std::vector<Token>> tokenize(std::string_view line, Hash hash = Hash::starts_comment);

// Walks over the tokens of a line. The text must outlive it.
class TokenReader {
  public:
    explicit TokenReader(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
    const Token& peek(std::size_t ahead = 0) const {
        const std::size_t last = tokens_.size() - 1;
        return tokens_[at_ + ahead < last ? at_ + ahead : last];
    }
    Token next() {
        const Token token = peek();
        if (token.type != Token::Type::end) ++at_;
        return token;
    }
    bool done() const { return peek().type == Token::Type::end; }
    void skip_rest() { at_ = tokens_.size() - 1; }
    bool is(std::string_view text, std::size_t ahead = 0) const {
        return peek(ahead).type != Token::Type::end && peek(ahead).text == text;
    }
    bool accept(std::string_view text) {
        const bool found = is(text);
        if (found) ++at_;
        return found;
    }
    Result<> expect(std::string_view text);
    // An integer with an optional sign, between low and high; what is above the middle of an unsigned range is meant as
    // its bits. "imm" names it in messages.
    Result<i64> integer(std::string_view what, i64 low, u64 high);
    bool at_integer() const;
    tl::unexpected<Error> unexpected(std::string_view wanted) const;

  private:
    std::vector<Token> tokens_;
    std::size_t at_ = 0;
};

}  // namespace anybpf::isa
