// SPDX-License-Identifier: MIT OR Apache-2.0
//! Headers and objects for tests.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that is removed on drop.
pub(crate) struct Made(PathBuf);

impl Made {
    fn path(extension: &str) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        env::temp_dir().join(format!("retrans-{}-{count}.{extension}", std::process::id()))
    }

    #[cfg(feature = "check")]
    pub(crate) fn header(text: &str) -> Self {
        let path = Self::path("h");
        fs::write(&path, text).expect("a file in the temporary directory");
        Self(path)
    }

    /// Writes a file with any content.
    #[cfg(feature = "check")]
    pub(crate) fn file(bytes: &[u8]) -> Self {
        let path = Self::path("btf");
        fs::write(&path, bytes).expect("a file in the temporary directory");
        Self(path)
    }

    /// Compiles a C source to an object, whose BTF is that of a kernel with such headers.
    pub(crate) fn object(source: &str) -> Self {
        let (c, object) = (Self::path("c"), Self::path("o"));
        fs::write(&c, source).expect("a file in the temporary directory");
        let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
        let built =
            Command::new(clang).args(["-g", "-O2", "-target", "bpf", "-c"]).arg(&c).arg("-o").arg(&object).status();
        fs::remove_file(&c).expect("the file just written");
        assert!(built.expect("clang, which built this crate").success(), "{source}");
        Self(object)
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    #[cfg(feature = "check")]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.0).expect("the file just made")
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("the file just made");
    }
}

/// Returns the enums of a current kernel, and the tracepoint with a third argument of the given
/// type.
pub(crate) fn kernel(third_argument: Option<&str>) -> String {
    let third = third_argument.map(|third| format!(", {third}")).unwrap_or_default();
    format!(
        "{STATES}{CA_STATES}
        struct sock; struct sk_buff; struct request_sock;
        {PROPOSAL}
        typedef void (*btf_trace_tcp_retransmit_skb)(void *, const struct sock *, const struct sk_buff *{third});
        typedef void (*btf_trace_tcp_retransmit_synack)(void *, const struct sock *, const struct request_sock *);
        btf_trace_tcp_retransmit_skb *volatile one;
        btf_trace_tcp_retransmit_synack *volatile two;
        volatile enum tcp_ca_state three;
        "
    )
}

/// The enum of include/net/tcp_states.h. It has no name, so BTF keeps it only with a variable of
/// its type.
pub(crate) const STATES: &str = "
    enum {
        TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE,
        TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_LISTEN, TCP_CLOSING, TCP_NEW_SYN_RECV, TCP_BOUND_INACTIVE, TCP_MAX_STATES
    } states;";

pub(crate) const CA_STATES: &str = "
    enum tcp_ca_state { TCP_CA_Open = 0, TCP_CA_Disorder = 1, TCP_CA_CWR = 2, TCP_CA_Recovery = 3, TCP_CA_Loss = 4 };";

/// The enum of the proposal's v2.
pub(crate) const PROPOSAL: &str = "
    enum tcp_retransmit_quit_reason {
        TCP_RETRANS_ERR_DEFAULT, TCP_RETRANS_SUCCESS, TCP_RETRANS_IN_HOST_QUEUE, TCP_RETRANS_END_SEQ_ERROR,
        TCP_RETRANS_TRIM_HEAD_NOMEM, TCP_RETRANS_UNCLONE_NOMEM, TCP_RETRANS_FRAG_NOMEM, TCP_RETRANS_ROUTE_FAIL,
        TCP_RETRANS_RCV_ZERO_WINDOW, TCP_RETRANS_PSKB_COPY_NOBUFS
    };";

/// The functions that BPF programs attach to, with the kernel's prototypes.
pub(crate) const FUNCTIONS: &str = "
    int tcp_retransmit_skb(long sk, long skb, long segs) { return 0; }
    int __tcp_retransmit_skb(long sk, long skb, long segs) { return 0; }";

/// The function that retransmits SYN-ACKs.
pub(crate) const SYNACK: &str = "
    int tcp_rtx_synack(long sk, long req) { return 0; }";

/// The function that splits a segment. It is only declared, because a function of the BPF target
/// has at most five parameters.
pub(crate) const FRAGMENT: &str = "
    int tcp_fragment(long sk, long queue, long skb, long len, long mss, long gfp) __attribute__((section(\".ksyms\")));
    void *used(void) { return (void *)tcp_fragment; }";
