#ifndef X
#define X
/* states */
enum {
	TCP_ESTABLISHED = 1, // one
	TCP_SYN_SENT,
#define TCP_SYN_SENT TCP_SYN_SENT
	B = (1 << 4), C = B + 2, D = -1, E = 010U,
};
enum tcp_ca_state { TCP_CA_Open = 0, TCP_CA_Disorder };
enum e { F = 0x7fffffffffffffff, G,
#ifdef Y
H,
#endif
};
#include "list.h"
#endif
