/* SPDX-License-Identifier: MIT */
/*
 * A guest goes elsewhere: what was lost there is lost here, and it gets the same machine
 * check.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE	5

static struct machine m;
static const struct machine_options plain = { .flags = BEZ_VM_NO_BROADCAST };

static const enum bez_vm_form forms[] = { BEZ_VM_FORM_JSON,
					  BEZ_VM_FORM_BINARY };

static const struct move {
	enum bez_vm_form form;
	int file;			/* the memory is a memory file's there */
} as_json = { BEZ_VM_FORM_JSON, 0 }, as_binary = { BEZ_VM_FORM_BINARY, 0 },
  into_file = { BEZ_VM_FORM_BINARY, 1 };

static void *exported(enum bez_vm_form form, size_t *ret_len)
{
	int64_t len = bez_vm_export(m.vm, form, NULL, 0);
	void *to;

	CHECK(len > 0);
	to = malloc((size_t)len);
	CHECK(to != NULL);
	CHECK_EQ(bez_vm_export(m.vm, form, to, (size_t)len), len);
	*ret_len = (size_t)len;
	return to;
}

/* The guest has met one of three, and the monitor another. */
static void lose_three(void)
{
	unsigned char byte;

	machine_lose(&m, PAGE);
	machine_lose(&m, PAGE + 1);
	machine_lose(&m, PAGE + 9);
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(PAGE), 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(bez_vm_read(m.vm, &byte, machine_gpa(PAGE + 1), 1), 1);
	CHECK_EQ(bez_vm_read(m.vm, &byte, machine_gpa(PAGE + 9), 1), 1);
}

static void goes(void)
{
	const struct move *move = tap_data();
	const struct machine_options there = {
		.flags = BEZ_VM_NO_BROADCAST, .file = move->file,
	};
	struct bez_vm_lost lost;
	struct kvm_regs regs;
	size_t len, page;
	uint64_t at = 0;
	void *list;

	machine_make(&m, &plain);
	lose_three();
	list = exported(move->form, &len);
	machine_unmake(&m);

	machine_make(&m, &there);
	CHECK_EQ(bez_vm_import(m.vm, list, len), 0);
	for (page = 0; page < MACHINE_PAGES; page++)
		CHECK_EQ(bez_vm_lost_in(m.vm, machine_gpa(page), 4096),
			 page == PAGE || page == PAGE + 1 || page == PAGE + 9);
	CHECK_EQ(bez_vm_lost_next(m.vm, &at, &lost), 0);
	CHECK_EQ(lost.gpa, machine_gpa(PAGE));
	CHECK(lost.hva == m.mem + PAGE * 4096);
	/* nobody gets the bytes that were there */
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(PAGE + 9) + 100, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, machine_gpa(PAGE + 9));
	CHECK_EQ(toy_mc(&m.toy, 0)->status, 0xbd80000000000134);
	CHECK_EQ(toy_mc(&m.toy, 0)->mcg_status, 7);
	/* and it is exported again as it came; twice is once */
	CHECK_EQ(bez_vm_import(m.vm, list, len), 0);
	free(list);
	list = exported(move->form, &len);
	CHECK_EQ(bez_vm_reset(m.vm, NULL), 0);
	CHECK(!bez_vm_lost_in(m.vm, 0, ~0ull));
	CHECK_EQ(bez_vm_import(m.vm, list, len), 0);
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(PAGE + 2), 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	toy_regs(&m.toy, 0, &regs);
	CHECK_EQ(regs.rax, machine_byte(PAGE + 2));
	free(list);
	machine_unmake(&m);
}

/* A page that the monitor has in no slot of KVM's. */
static void left_out(void)
{
	static const char list[] = "{\"bezoar-vm-lost\": 1, \"ranges\": ["
		"{\"gpa\": \"0x205000\", \"len\": \"0x1000\"}]}";
	const size_t behind = (PAGE + 1) * 4096;
	struct kvm_regs regs;
	int i;

	machine_make(&m, &plain);
	CHECK_EQ(bez_vm_import(m.vm, list, sizeof(list) - 1), 0);
	toy_slot(&m.toy, 1, MACHINE_GPA, m.mem, 0, 0);
	toy_slot(&m.toy, 1, MACHINE_GPA, m.mem, PAGE * 4096, 0);
	toy_slot(&m.toy, 2, MACHINE_GPA + behind, m.mem + behind,
		 MACHINE_LEN - behind, 0);
	for (i = 1; i <= 2; i++) {
		toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(PAGE) + 8, 0, 0);
		CHECK_EQ(machine_run(&m, 0), TOY_MC);
		CHECK_EQ(toy_mc(&m.toy, 0)->addr, machine_gpa(PAGE));
		CHECK_EQ(toy_mc(&m.toy, 0)->count, i);
	}
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(PAGE + 1), 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	toy_regs(&m.toy, 0, &regs);
	CHECK_EQ(regs.rax, machine_byte(PAGE + 1));
	machine_unmake(&m);
}

static void nothing(void)
{
	const enum bez_vm_form *form = tap_data();
	size_t len;
	void *list;

	machine_make(&m, &plain);
	list = exported(*form, &len);
	CHECK_EQ(bez_vm_import(m.vm, list, len), 0);
	CHECK(!bez_vm_lost_in(m.vm, 0, ~0ull));
	free(list);
	machine_unmake(&m);
}

/* One word of it is wrong: nothing is changed. */
static void not_its_memory(void)
{
	static const char list[] = "{\"bezoar-vm-lost\": 1, \"ranges\": ["
		"{\"gpa\": \"0x205000\", \"len\": \"0x1000\"},"
		"{\"gpa\": \"0x90000000\", \"len\": \"0x1000\"}]}";

	machine_make(&m, &plain);
	CHECK_EQ(bez_vm_import(m.vm, list, sizeof(list) - 1), -ENOENT);
	CHECK_EQ(bez_vm_import(m.vm, list, sizeof(list) - 3), -EBADMSG);
	CHECK_EQ(bez_vm_import(m.vm, NULL, 1), -EINVAL);
	CHECK(!bez_vm_lost_in(m.vm, 0, ~0ull));
	CHECK_EQ(m.mem[PAGE * 4096], machine_byte(PAGE));
	machine_unmake(&m);
}

/* The same memory at two places: it is lost at both. */
static void twice(void)
{
	struct bez_vm_lost lost;
	uint64_t at = 0, gpa;
	unsigned char byte;

	machine_make(&m, &plain);
	CHECK_EQ(bez_vm_map(m.vm, 0x80000000, 16 * 4096, m.mem, 0, NULL), 0);
	CHECK_EQ(bez_vm_map(m.vm, 0x8000f000, 4096, m.mem, 0, NULL), -EEXIST);
	machine_lose(&m, PAGE);
	CHECK_EQ(bez_vm_read(m.vm, &byte, 0x80000000 + PAGE * 4096, 1), 1);
	CHECK(bez_vm_lost_in(m.vm, machine_gpa(PAGE), 1));
	CHECK(bez_vm_lost_in(m.vm, 0x80000000 + PAGE * 4096, 1));
	CHECK_EQ(bez_vm_gpa(m.vm, m.mem, &gpa), 0);
	CHECK_EQ(gpa, MACHINE_GPA);
	CHECK_EQ(bez_vm_lost_next(m.vm, &at, &lost), 0);
	CHECK_EQ(lost.gpa, machine_gpa(PAGE));
	CHECK_EQ(bez_vm_lost_next(m.vm, &at, &lost), 0);
	CHECK_EQ(lost.gpa, 0x80000000 + PAGE * 4096);
	CHECK_EQ(bez_vm_lost_next(m.vm, &at, &lost), -ENOENT);
	/* it stays as long as one has it */
	CHECK_EQ(bez_vm_unmap(m.vm, MACHINE_GPA), 0);
	CHECK(bez_vm_lost_in(m.vm, 0x80000000, 16 * 4096));
	CHECK_EQ(bez_vm_unmap(m.vm, 0x80000000), 0);
	CHECK_EQ(bez_vm_unmap(m.vm, 0x80000000), -ENOENT);
	CHECK(!bez_lost_in(m.mem, MACHINE_LEN));
	machine_unmake(&m);
}

static const struct tap_case cases[] = {
	{ .name = "as JSON", .run = goes, .data = &as_json },
	{ .name = "as binary", .run = goes, .data = &as_binary },
	{ .name = "into a memory file", .run = goes, .data = &into_file },
	{ .name = "a page that is in no slot", .run = left_out },
	{ .name = "nothing is lost, JSON", .run = nothing, .data = &forms[0] },
	{ .name = "nothing is lost, binary", .run = nothing, .data = &forms[1] },
	{ .name = "not its memory", .run = not_its_memory },
	{ .name = "one memory at two places", .run = twice },
};
TAP_MAIN(cases)
