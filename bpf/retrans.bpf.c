// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The object that reports attempts. User space loads the programs of one attach method and its
 * companion (probes.bpf.h).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "probes.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * A type is in the object's BTF and in the generated skeleton only if a global variable uses it.
 * The enums are checked against the Rust tables, and the record against
 * retrans-sdk/src/kernel/layout.rs.
 */
const volatile enum tcp_retransmit_quit_reason btf_quit_reason = TCP_RETRANS_ERR_DEFAULT;
const volatile enum retrans_own_result btf_own_result = RETRANS_OWN_NOMEM;
const volatile enum retrans_kind btf_kind = RETRANS_KIND_UNKNOWN;
const volatile enum retrans_transmit btf_transmit = RETRANS_TRANSMIT_UNKNOWN;
const volatile enum retrans_field btf_field = RETRANS_FIELD_ERR;
const struct retrans_record *const volatile btf_record = NULL;
const struct retrans_owner *const volatile btf_owner = NULL;
const struct retrans_verdict *const volatile btf_verdict = NULL;
const volatile enum retrans_verdict_kind btf_verdict_kind = RETRANS_VERDICT_UNNEEDED;
const volatile enum retrans_unneeded_proof btf_unneeded_proof = RETRANS_PROOF_DSACK;
const volatile enum retrans_end_reason btf_end_reason = RETRANS_END_UNKNOWN;
const volatile enum retrans_owner_source btf_owner_source = RETRANS_OWNER_CONNECT;
