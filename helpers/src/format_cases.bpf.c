// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Asks the live kernel what it makes of the format strings of format_cases.def.
// clang-format off: the headers of bpf/ need the types of linux/bpf.h
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#define EINVAL 22
#define MAX_CASES 64

struct answer {
    long result;
    char text[48];
};
struct answer answers[MAX_CASES];
long refusals[MAX_CASES];

// An address that is known only at run time: libbpf does not relocate data that holds addresses.
static __always_inline unsigned long at_run_time(const void *text) {
    asm volatile("" : "+r"(text));
    return (unsigned long)text;
}
#define TEXT(text) at_run_time(text)

// Slot 0 of the arguments is not passed: a case may have none.
#define ANYBPF_FORMAT(result_, text_, format, ...)                                                           \
    {                                                                                                        \
        static const char fmt[] = format;                                                                    \
        unsigned long long arguments[] = {0, ##__VA_ARGS__};                                                 \
        answers[i].result =                                                                                  \
            bpf_snprintf(answers[i].text, sizeof answers[i].text, fmt, arguments + 1, sizeof arguments - 8); \
        i++;                                                                                                 \
    }
#define ANYBPF_FORMAT_REFUSED(errno_, format, ...)

SEC("raw_tp/sys_enter")
int accepted(void *ctx) {
    int i = 0;
#include "format_cases.def"
    return i;
}

#define ANYBPF_FORMAT(result_, text_, format, ...)
#define ANYBPF_FORMAT_REFUSED(errno_, format, ...)                                               \
    {                                                                                            \
        static const char fmt[] = format;                                                        \
        unsigned long long arguments[] = {0, ##__VA_ARGS__};                                     \
        refusals[i++] = bpf_trace_vprintk(fmt, sizeof fmt, arguments + 1, sizeof arguments - 8); \
    }

SEC("raw_tp/sys_enter")
int refused(void *ctx) {
    int i = 0;
#include "format_cases.def"
    return i;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
