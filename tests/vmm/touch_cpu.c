/* SPDX-License-Identifier: MIT */
/*
 * What an instruction touches, as it is read from its bytes, against what this processor
 * touches: tens of thousands of them, made at random, each run on addresses where nothing
 * is, then where there is something at the first, and so on. Of each page fault the page has
 * to be among those that were read.
 */
#include <asm/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"
#include "tap.h"

#define PAGE		4096ull
#define FAULTS		6		/* of one instruction */
#define ROOM		24
#define GS		0x300000000000ull

static const struct mode {
	uint8_t bits;
	uint64_t code;			/* two pages; it stands in the midst */
} modes[] = {
	{ 64, 0x200000000000ull }, { 32, 0x10000000ull },
};

static struct shared {
	uint64_t next;			/* to be made */
	uint64_t faults, misses, left_out, deaths;
	char first[256];		/* that was missed */
} *shared;

static const struct mode *mode;
static struct bzv_standing at;

/* ------------------------------------------------------------- instructions */

static uint64_t seed;

/* xorshift64: Marsaglia, 2003. */
static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* One in @n. */
static int sometimes(uint64_t n)
{
	return draw() % n == 0;
}

/* ModRM, SIB, displacement, and what follows. Far addresses would be of this program. */
static void operand(uint8_t *code, int n)
{
	uint8_t mod = (uint8_t)(draw() % 3), rm = (uint8_t)(draw() % 8);
	int i;

	code[n++] = (uint8_t)(mod << 6 | (draw() % 8) << 3 | rm);
	if (rm == 4)
		code[n++] = (uint8_t)draw();
	for (i = n; i < BZV_LONGEST; i++)
		code[i] = (uint8_t)draw();
	for (i = n; i + 3 < BZV_LONGEST; i += 4)
		code[i + 3] = sometimes(2) ? code[i + 3] & 0x1f :
					     code[i + 3] | 0xe0;
}

static int legacy(uint8_t *code)
{
	static const uint8_t prefixes[] = { 0x66, 0xf3, 0xf2 };
	uint64_t map = draw() % 4;
	int n = 0;

	if (sometimes(2))
		code[n++] = prefixes[draw() % 3];
	if (sometimes(8))
		code[n++] = 0x67;
	if (mode->bits == 64 && sometimes(16))
		code[n++] = 0x65;
	if (sometimes(32))
		code[n++] = 0xf0;
	if (mode->bits == 64 && sometimes(2))
		code[n++] = (uint8_t)(0x40 | draw() % 16);
	if (map)
		code[n++] = 0x0f;
	if (map > 1)
		code[n++] = map == 2 ? 0x38 : 0x3a;
	code[n++] = (uint8_t)draw();
	return n;
}

static int vex(uint8_t *code)
{
	int n = 0;

	if (sometimes(16))
		code[n++] = 0x67;
	code[n++] = 0xc4;
	/* in 32 bits these two are ones: else it is another instruction */
	code[n++] = (uint8_t)((mode->bits == 64 ? draw() & 0xe0 : 0xe0) |
			      (1 + draw() % 3));
	code[n++] = (uint8_t)(sometimes(4) ? draw() : (draw() & 0x87) | 0x78);
	code[n++] = (uint8_t)draw();
	return n;
}

static int evex(uint8_t *code)
{
	int n = 0;

	code[n++] = 0x62;
	code[n++] = (uint8_t)((mode->bits == 64 ? draw() & 0xf0 : 0xf0) |
			      (1 + draw() % 3));
	code[n++] = (uint8_t)(0x7c | (draw() & 0x83));
	code[n++] = (uint8_t)(0x08 | (draw() & 0x70) |
			      (sometimes(2) ? draw() & 7 : 0));
	code[n++] = (uint8_t)draw();
	return n;
}

static int is_prefix(uint8_t b)
{
	return b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 ||
	       (b & 0xe7) == 0x26 || b == 0x64 || b == 0x65 ||
	       (mode->bits == 64 && (b & 0xf0) == 0x40);
}

static int is_one_of(uint8_t b, const char *set, size_t n)
{
	return memchr(set, b, n) != NULL;
}

/* What leaves this program's segments, masks, mode or keys in another state than it found
 * them; and what calls the kernel. */
static int is_of_system(const uint8_t *code)
{
	uint8_t reg, mod;

	for (; is_prefix(*code); code++)
		if (*code == 0x64)	/* this program's own data */
			return 1;
	reg = code[1] >> 3 & 7;
	if (*code != 0x0f)
		/* int, into, iret, retf, mov to a segment, popf; far calls */
		return is_one_of(*code, "\xcc\xcd\xce\xcf\xca\xcb\xf1\x8e\x9d",
				 9) || (*code == 0xff && (reg == 3 || reg == 5)) ||
		       (mode->bits == 32 &&
			(is_one_of(*code, "\x07\x17\x1f\x9a\xea", 5) ||
			 /* les, lds: else it is a prefix, VEX */
			 ((*code | 1) == 0xc5 && code[1] < 0xc0)));
	reg = code[2] >> 3 & 7;
	mod = code[2] >> 6;
	/* syscall, sysret, sysenter, sysexit, pop of a segment, lss and such; clac, wrpkru,
	 * xsetbv and such; wrfsbase, xrstor and such */
	return is_one_of(code[1], "\x05\x07\x34\x35\xa1\xa9\xb2\xb4\xb5", 9) ||
	       (code[1] == 0x01 && mod == 3) ||
	       (code[1] == 0xae && (mod == 3 || reg == 5)) ||
	       (code[1] == 0xc7 && reg == 3);
}

/* Known to be missing. Gathers and scatters: their addresses are in a vector. And fnsave, whose
 * words go around at 64 KiB one by one, where addresses have 16 bits. */
static int is_left_out(const uint8_t *code)
{
	int is_short = 0;

	for (; is_prefix(*code); code++)
		is_short |= *code == 0x67;
	if (is_short && *code == 0xdd)
		return (code[1] >> 3 & 7) == 6;
	if (*code == 0xc4)
		return (code[1] & 0x1f) == 2 && code[3] >= 0x90 &&
		       code[3] <= 0x93;
	return *code == 0x62 && (code[1] & 7) == 2 &&
	       ((code[4] >= 0x90 && code[4] <= 0x93) ||
		(code[4] >= 0xa0 && code[4] <= 0xa3) || code[4] == 0xc6 ||
		code[4] == 0xc7);
}

static int make(uint64_t number, uint8_t code[ROOM])
{
	static const uint32_t offsets[] = {
		0, 1, 0x800, 0xe10, 0xf83, 0xfc0, 0xfe0, 0xff0, 0xff7, 0xffb,
		0xffd, 0xffe, 0xfff,
	};
	uint64_t form, offset, small;
	int i, n;

	seed = (number + 1) * 0x9e3779b97f4a7c15ull;
	for (i = 0; i < 4; i++)
		draw();
	memset(code, 0, ROOM);
	form = draw() % 10;
	n = form < 6 ? legacy(code) : form < 8 ? vex(code) : evex(code);
	operand(code, n);
	offset = offsets[draw() % (sizeof(offsets) / sizeof(offsets[0]))];
	small = sometimes(4);
	for (i = 0; i < 16; i++)
		at.gpr[i] = offset + (small ? (uint64_t)i * 1237 :
			    mode->bits == 32 ? 0x20000000ull + i * 0x1410000ull :
			    0x40000000000ull + i * 0x242000000ull);
	return !is_of_system(code);
}

/* ---------------------------------------------------------------- comparison */

static int is_told(const uint8_t *code, uint64_t address)
{
	struct bzv_touch touch[BZV_TOUCHES];
	int i, n = bzv_touched(&at, code, BZV_LONGEST, touch);

	for (i = 0; i < n; i++)
		if (address / PAGE - touch[i].linear / PAGE <=
		    (touch[i].linear + touch[i].len - 1) / PAGE -
		    touch[i].linear / PAGE)
			return 1;
	return 0;
}

static void missed(const uint8_t *code, uint64_t address)
{
	char hex[2 * BZV_LONGEST + 1];
	int i;

	if (is_left_out(code)) {
		shared->left_out++;
		return;
	}
	for (i = 0; i < BZV_LONGEST; i++)
		sprintf(hex + 2 * i, "%02x", code[i]);
	if (!shared->misses++)
		snprintf(shared->first, sizeof(shared->first), "%s touches %#llx "
			 "(number %llu; ax is %#llx)", hex,
			 (unsigned long long)address,
			 (unsigned long long)shared->next,
			 (unsigned long long)at.gpr[0]);
}

static void compare(uint64_t number)
{
	uint8_t code[ROOM];
	uint64_t address;
	void *page[FAULTS];
	int n = 0;

	if (!make(number, code))
		return;
	memcpy((void *)at.rip, code, BZV_LONGEST);
	while (cpu_run(&at, &address) == CPU_PAGE_FAULT) {
		shared->faults++;
		if (!is_told(code, address))
			missed(code, address);
		if (n == FAULTS)
			break;
		address -= address % PAGE;
		/* the kernel's, or the first ones, cannot be */
		page[n] = mmap((void *)address, PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS |
			       MAP_FIXED_NOREPLACE, -1, 0);
		if (page[n] == MAP_FAILED)
			break;
		n++;
	}
	while (n--)
		munmap(page[n], PAGE);
}

static void prepare(void)
{
	uint64_t fs = 0;

	if (mmap((void *)mode->code, 2 * PAGE, PROT_READ | PROT_WRITE |
		 PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		 -1, 0) != (void *)mode->code)
		tap_skip("no page here can be written and run");
	at.bits = mode->bits;
	at.sp_bits = mode->bits;
	at.rip = mode->code + 0x100;
	if (mode->bits == 64) {
		syscall(SYS_arch_prctl, ARCH_GET_FS, &fs);
		syscall(SYS_arch_prctl, ARCH_SET_GS, GS);
		at.base[BZV_FS] = fs;
		at.base[BZV_GS] = GS;
	}
}

static void all(void)
{
	const char *word = getenv("BEZOAR_INSTRUCTIONS");
	uint64_t last = word ? strtoull(word, NULL, 10) : 60000;
	int status;
	pid_t pid;

	mode = tap_data();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	prepare();
	while (shared->next < last) {
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			/* whatever it has become by then */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			cpu_begin();
			for (; shared->next < last; shared->next++)
				compare(shared->next);
			_exit(0);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		/* one that has changed what it must not: the next one, anew */
		if (status) {
			shared->deaths++;
			shared->next++;
		}
	}
	tap_diag("%llu instructions, %llu page faults; %llu of what is known to "
		 "be missing, %llu were the end", (unsigned long long)last,
		 (unsigned long long)shared->faults,
		 (unsigned long long)shared->left_out,
		 (unsigned long long)shared->deaths);
	CHECKF(!shared->misses, "%llu not told, the first: %s",
	       (unsigned long long)shared->misses, shared->first);
	/* of three instructions the processor knows one */
	CHECK(shared->faults > last / 12);
	CHECK(shared->deaths < last / 1000);
}

static const struct tap_case cases[] = {
	{ .name = "as this processor does, 64 bits", .run = all,
	  .data = &modes[0], .timeout_s = 120 },
	{ .name = "as this processor does, 32 bits", .run = all,
	  .data = &modes[1], .timeout_s = 120 },
};
TAP_MAIN(cases)
