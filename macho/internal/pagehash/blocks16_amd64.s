#include "textflag.h"

// SHA-256 of 16 streams: each register holds one word of all of them. Z0 to Z7 have the state, a to h, and Z16 to Z31 the
// last 16 words of the message schedule. Z8 to Z14 are scratch, Z15 is the mask that swaps the bytes of words.

// XOR3 sets r to r ^ x ^ y.
#define XOR3(x, y, r) VPTERNLOGD $0x96, x, y, r

// NEXT sets w, word t of the schedule, to word t+16.
#define NEXT(w, w1, w9, w14) \
	VPRORD $7, w1, Z8; VPRORD $18, w1, Z9; VPSRLD $3, w1, Z10; XOR3(Z9, Z10, Z8); \
	VPADDD w9, w, w; VPADDD Z8, w, w; \
	VPRORD $17, w14, Z11; VPRORD $19, w14, Z12; VPSRLD $10, w14, Z13; XOR3(Z12, Z13, Z11); \
	VPADDD Z11, w, w

#define LAST(w, w1, w9, w14)

// ROUND is one round with the word w and the constant at BX+k. 0xca is e ? f : g, and 0xe8 is the majority of a, b and c.
// The next e waits for this one: whatever is known earlier is added to d earlier, at the price of two more additions.
#define ROUND(SCHEDULE, a, b, c, d, e, f, g, h, k, w, w1, w9, w14) \
	VPADDD w, h, h; VPADDD.BCST k(BX), h, h; \
	SCHEDULE(w, w1, w9, w14); \
	VPRORD $6, e, Z8; VPRORD $11, e, Z9; VPRORD $25, e, Z10; \
	VMOVDQA32 e, Z11; VPTERNLOGD $0xca, g, f, Z11; \
	VPADDD h, d, d; XOR3(Z9, Z10, Z8); VPADDD Z11, d, d; VPADDD Z8, d, d; \
	VPADDD Z11, h, h; VPADDD Z8, h, h; \
	VPRORD $2, a, Z12; VPRORD $13, a, Z13; VPRORD $22, a, Z14; \
	VMOVDQA32 a, Z11; VPTERNLOGD $0xe8, c, b, Z11; \
	XOR3(Z13, Z14, Z12); VPADDD Z11, h, h; VPADDD Z12, h, h

#define ROUNDS16(SCHEDULE) \
	ROUND(SCHEDULE, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, 0, Z16, Z17, Z25, Z30); \
	ROUND(SCHEDULE, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, 4, Z17, Z18, Z26, Z31); \
	ROUND(SCHEDULE, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, 8, Z18, Z19, Z27, Z16); \
	ROUND(SCHEDULE, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, 12, Z19, Z20, Z28, Z17); \
	ROUND(SCHEDULE, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, 16, Z20, Z21, Z29, Z18); \
	ROUND(SCHEDULE, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, 20, Z21, Z22, Z30, Z19); \
	ROUND(SCHEDULE, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, 24, Z22, Z23, Z31, Z20); \
	ROUND(SCHEDULE, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, 28, Z23, Z24, Z16, Z21); \
	ROUND(SCHEDULE, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, 32, Z24, Z25, Z17, Z22); \
	ROUND(SCHEDULE, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, 36, Z25, Z26, Z18, Z23); \
	ROUND(SCHEDULE, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, 40, Z26, Z27, Z19, Z24); \
	ROUND(SCHEDULE, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, 44, Z27, Z28, Z20, Z25); \
	ROUND(SCHEDULE, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, 48, Z28, Z29, Z21, Z26); \
	ROUND(SCHEDULE, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, 52, Z29, Z30, Z22, Z27); \
	ROUND(SCHEDULE, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, 56, Z30, Z31, Z23, Z28); \
	ROUND(SCHEDULE, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, 60, Z31, Z16, Z24, Z29)

// LOAD loads the block of lane i.
#define LOAD(i, r) MOVQ (8*(i))(SI), AX; VMOVDQU32 (AX)(DX*1), r; VPSHUFB Z15, r, r

// LOAD4 loads four lanes and transposes 4 by 4 words: word 4*j+n of the lanes comes to quarter j of rn.
#define LOAD4(i, r0, r1, r2, r3) \
	LOAD(i, r0); LOAD(i+1, r1); LOAD(i+2, r2); LOAD(i+3, r3); \
	VPUNPCKLDQ r1, r0, Z8; VPUNPCKHDQ r1, r0, Z9; VPUNPCKLDQ r3, r2, Z10; VPUNPCKHDQ r3, r2, Z11; \
	VPUNPCKLQDQ Z10, Z8, r0; VPUNPCKHQDQ Z10, Z8, r1; VPUNPCKLQDQ Z11, Z9, r2; VPUNPCKHQDQ Z11, Z9, r3

// TRANSPOSE transposes the quarters of four registers.
#define TRANSPOSE(r0, r1, r2, r3) \
	VSHUFI32X4 $0x88, r1, r0, Z8; VSHUFI32X4 $0xdd, r1, r0, Z9; \
	VSHUFI32X4 $0x88, r3, r2, Z10; VSHUFI32X4 $0xdd, r3, r2, Z11; \
	VSHUFI32X4 $0x88, Z10, Z8, r0; VSHUFI32X4 $0x88, Z11, Z9, r1; \
	VSHUFI32X4 $0xdd, Z10, Z8, r2; VSHUFI32X4 $0xdd, Z11, Z9, r3

#define GET(i, r) VMOVDQU32 (64*i)(DI), r
#define ADD(i, r) VPADDD (64*i)(DI), r, r; VMOVDQU32 r, (64*i)(DI)

// func blocks16(state *[maxLanes * 8]uint32, ptrs *[maxLanes]*byte, n int)
TEXT ·blocks16(SB), NOSPLIT, $0-24
	MOVQ state+0(FP), DI
	MOVQ ptrs+8(FP), SI
	MOVQ n+16(FP), CX
	XORL DX, DX // the offset of the block from each pointer
	VBROADCASTI32X4 swapWords<>(SB), Z15
	GET(0, Z0); GET(1, Z1); GET(2, Z2); GET(3, Z3)
	GET(4, Z4); GET(5, Z5); GET(6, Z6); GET(7, Z7)

block:
	LOAD4(0, Z16, Z17, Z18, Z19)
	LOAD4(4, Z20, Z21, Z22, Z23)
	LOAD4(8, Z24, Z25, Z26, Z27)
	LOAD4(12, Z28, Z29, Z30, Z31)
	TRANSPOSE(Z16, Z20, Z24, Z28)
	TRANSPOSE(Z17, Z21, Z25, Z29)
	TRANSPOSE(Z18, Z22, Z26, Z30)
	TRANSPOSE(Z19, Z23, Z27, Z31)
	ADDQ $64, DX
	LEAQ ·constants(SB), BX
	MOVL $3, AX

rounds:
	ROUNDS16(NEXT)
	ADDQ $64, BX
	DECL AX
	JNZ rounds
	ROUNDS16(LAST)
	ADD(0, Z0); ADD(1, Z1); ADD(2, Z2); ADD(3, Z3)
	ADD(4, Z4); ADD(5, Z5); ADD(6, Z6); ADD(7, Z7)
	DECQ CX
	JNZ block
	VZEROUPPER
	RET

DATA swapWords<>+0(SB)/8, $0x0405060700010203
DATA swapWords<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swapWords<>(SB), RODATA|NOPTR, $16
