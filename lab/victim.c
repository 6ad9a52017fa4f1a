/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "victim.h"

#include "poison.h"
#include "tap.h"

#include <string.h>
#include <sys/mman.h>

typedef unsigned char loop(const unsigned char *at, const atomic_int *stop);

static size_t code_size(void)
{
	return (size_t)(lab_load_loop_end - (const char *)lab_load_loop);
}

unsigned char *victim_code(void)
{
	unsigned char *p = anon(1, MAP_PRIVATE);

	memcpy(p, (const void *)lab_load_loop, code_size());
	CHECK_EQ(mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	return p;
}

static void touch(void *data)
{
	static const unsigned char good;
	struct victim *v = data;
	loop *code;

	switch (v->touch) {
	case TOUCH_LOAD:
		v->value = lab_load_loop(v->at, &v->stop);
		break;
	case TOUCH_STORE:
		lab_store_loop(v->at, &v->stop, v->value);
		break;
	case TOUCH_RUN:
		memcpy(&code, &v->at, sizeof(code));
		v->value = code(&good, &v->stop);
		break;
	}
}

static void *victim_thread(void *data)
{
	struct victim *v = data;

	lab_stay_on(THERE);
	if (v->begin)
		CHECK_EQ(v->begin(), 0);
	v->left = attempt(touch, v);
	return NULL;
}

void victim_starts(struct victim *v)
{
	lab_stay_on(HERE);
	v->stop = 0;
	CHECK_EQ(pthread_create(&v->thread, NULL, victim_thread, v), 0);
}

void victim_meets(struct victim *v, enum lab_mce_kind kind, uint64_t phys)
{
	struct lab_mce mce = { .kind = kind, .cpu = THERE, .phys = phys };

	switch (v->touch) {
	case TOUCH_LOAD:
		mce.low = (uintptr_t)lab_load_loop;
		mce.high = (uintptr_t)lab_load_loop_end;
		break;
	case TOUCH_STORE:
		mce.low = (uintptr_t)lab_store_loop;
		mce.high = (uintptr_t)lab_store_loop_end;
		break;
	case TOUCH_RUN:
		mce.low = (uintptr_t)v->at;
		mce.high = mce.low + code_size();
		break;
	}
	CHECK(phys != 0);
	CHECK_EQ(lab_mce(&mce), 0);
}

void victim_ends(struct victim *v)
{
	v->stop = 1;
	CHECK_EQ(pthread_join(v->thread, NULL), 0);
}

void victim_struck(struct victim *v, enum lab_mce_kind kind)
{
	const uint64_t phys = lab_phys(v->at);

	victim_starts(v);
	victim_meets(v, kind, phys);
	victim_ends(v);
}
