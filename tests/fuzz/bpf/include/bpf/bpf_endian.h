/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of libbpf's header that the filter needs, for a program in user space. */
#ifndef BPF_ENDIAN_H
#define BPF_ENDIAN_H

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_htonl(x) __builtin_bswap32(x)
#else
#define bpf_htonl(x) (x)
#endif
#define bpf_ntohl(x) bpf_htonl(x)

#endif /* BPF_ENDIAN_H */
