#include "textflag.h"

// SHA-256 of 4 streams with the SHA-2 instructions. V0 to V7 have the states, two registers a lane: abcd and efgh. V8 to
// V23 have the last 16 words of each lane's schedule, four registers a lane. V24 has four constants, V25 and V26 are
// scratch.

// ROUNDS4 is four rounds of a lane with the words w.
#define ROUNDS4(abcd, efgh, w) \
	VADD w.S4, V24.S4, V25.S4; VMOV abcd.B16, V26.B16; \
	SHA256H V25.S4, efgh, abcd; SHA256H2 V25.S4, V26, efgh

// NEXT does four rounds with w0 and replaces it by the words 16 later; w1 to w3 follow it.
#define NEXT(abcd, efgh, w0, w1, w2, w3) \
	ROUNDS4(abcd, efgh, w0); \
	SHA256SU0 w1.S4, w0.S4; SHA256SU1 w3.S4, w2.S4, w0.S4

#define NEXTS(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3) \
	VLD1.P 16(R3), [V24.S4]; \
	NEXT(V0, V1, a0, a1, a2, a3); \
	NEXT(V2, V3, b0, b1, b2, b3); \
	NEXT(V4, V5, c0, c1, c2, c3); \
	NEXT(V6, V7, d0, d1, d2, d3)

#define LASTS(a, b, c, d) \
	VLD1.P 16(R3), [V24.S4]; \
	ROUNDS4(V0, V1, a); ROUNDS4(V2, V3, b); ROUNDS4(V4, V5, c); ROUNDS4(V6, V7, d)

// LOAD loads a block and swaps the bytes of its words.
#define LOAD(p, w0, w1, w2, w3) \
	VLD1.P 64(p), [w0.B16, w1.B16, w2.B16, w3.B16]; \
	VREV32 w0.B16, w0.B16; VREV32 w1.B16, w1.B16; VREV32 w2.B16, w2.B16; VREV32 w3.B16, w3.B16

// ADD adds the lane's state at R4, and stores the sum there.
#define ADD(abcd, efgh) \
	VLD1 (R4), [V25.S4, V26.S4]; \
	VADD V25.S4, abcd.S4, abcd.S4; VADD V26.S4, efgh.S4, efgh.S4; \
	VST1.P [abcd.S4, efgh.S4], 32(R4)

// func blocks4(state *[maxLanes * 8]uint32, ptrs *[maxLanes]*byte, n int)
TEXT ·blocks4(SB), NOSPLIT, $0-24
	MOVD state+0(FP), R0
	MOVD ptrs+8(FP), R1
	MOVD n+16(FP), R2
	LDP 0(R1), (R5, R6)
	LDP 16(R1), (R7, R8)
	MOVD R0, R4
	VLD1.P 64(R4), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1 (R4), [V4.S4, V5.S4, V6.S4, V7.S4]

block:
	LOAD(R5, V8, V9, V10, V11)
	LOAD(R6, V12, V13, V14, V15)
	LOAD(R7, V16, V17, V18, V19)
	LOAD(R8, V20, V21, V22, V23)
	MOVD $·constants(SB), R3
	MOVD $3, R4

rounds:
	NEXTS(V8, V9, V10, V11, V12, V13, V14, V15, V16, V17, V18, V19, V20, V21, V22, V23)
	NEXTS(V9, V10, V11, V8, V13, V14, V15, V12, V17, V18, V19, V16, V21, V22, V23, V20)
	NEXTS(V10, V11, V8, V9, V14, V15, V12, V13, V18, V19, V16, V17, V22, V23, V20, V21)
	NEXTS(V11, V8, V9, V10, V15, V12, V13, V14, V19, V16, V17, V18, V23, V20, V21, V22)
	SUB $1, R4
	CBNZ R4, rounds
	LASTS(V8, V12, V16, V20)
	LASTS(V9, V13, V17, V21)
	LASTS(V10, V14, V18, V22)
	LASTS(V11, V15, V19, V23)
	MOVD R0, R4
	ADD(V0, V1)
	ADD(V2, V3)
	ADD(V4, V5)
	ADD(V6, V7)
	SUB $1, R2
	CBNZ R2, block
	RET
