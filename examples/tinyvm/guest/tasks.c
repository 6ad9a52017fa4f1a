/* SPDX-License-Identifier: MIT */
/*
 * Tasks: each fills pages of its own from a seed, looks at all of them over and over,
 * gives them back after some time and begins anew with others. A page of even number
 * can be made again from the seed when it is lost; with any other the task is killed.
 */
#include "kernel.h"

#define USER_BASE	(1ull << 39)	/* the second entry of the top table */
#define TASK_SPACE	(TASK_PAGES * PAGE)
#define CPU_SPACE	(BOARD_TASKS * TASK_SPACE)

#define PTE_PRESENT	1ull
#define PTE_WRITE	2ull
#define PTE_USER	4ull
#define PTE_NX		(1ull << 63)
#define PTE_TABLE	(PTE_PRESENT | PTE_WRITE | PTE_USER)

_Static_assert(CPU_SPACE == 2u << 20, "one page table of each CPU");

struct cpu cpus[BOARD_CPUS];
struct board board __attribute__((aligned(4096)));

static uint64_t upper[512] __attribute__((aligned(4096)));
static uint64_t middle[512] __attribute__((aligned(4096)));
static uint64_t lower[BOARD_CPUS][512] __attribute__((aligned(4096)));

enum end { STEP_DONE, STEP_KILLED };

static uint64_t address_of(const struct cpu *c, uint32_t task, uint32_t page)
{
	return USER_BASE + c->index * CPU_SPACE + task * TASK_SPACE + page * PAGE;
}

static void page_set(const struct cpu *c, uint32_t task, uint32_t page, uint32_t frame)
{
	uint32_t slot = task * TASK_PAGES + page;

	lower[c->index][slot] = frame ? (uint64_t)frame << 12 | PTE_TABLE | PTE_NX : 0;
	__asm__ volatile("invlpg (%0)" :: "r"(address_of(c, task, page)) : "memory");
	__atomic_store_n(&board.used[c->index][slot], frame, __ATOMIC_RELEASE);
}

static void page_add(struct cpu *c, uint32_t task, uint32_t page)
{
	struct task *t = &c->task[task];

	t->frame[page] = frame_take(task, page);
	if (!t->frame[page])
		panic("no memory is left", task);
	page_set(c, task, page, t->frame[page]);
}

/* Take it away from its task: @out: for it is lost. */
static void page_remove(struct cpu *c, uint32_t task, uint32_t page, int out)
{
	struct task *t = &c->task[task];
	uint32_t frame = t->frame[page];

	page_set(c, task, page, 0);
	t->frame[page] = 0;
	if (out)
		frame_out(frame);
	else
		frame_give(frame);
}

static void task_end(struct cpu *c, uint32_t task)
{
	uint32_t page;

	for (page = 0; page < TASK_PAGES; page++)
		if (c->task[task].frame[page])
			page_remove(c, task, page, 0);
	c->task[task].rounds = 0;
}

static void task_kill(struct cpu *c, uint32_t task)
{
	counts()->killed++;
	task_end(c, task);
	c->task[task].was_killed = 1;
}

typedef void (*user_fn)(uint64_t at, uint64_t first, uint64_t pages, uint64_t seed);

static struct frame begin(const struct cpu *c, uint32_t task, user_fn fn, uint32_t first,
			  uint32_t pages, uint64_t stack)
{
	return (struct frame){
		.rip = (uint64_t)fn,
		.cs = USER_CODE,
		.ss = USER_DATA,
		.rflags = 2,
		.rsp = (stack & ~15ull) - 8,
		.rdi = address_of(c, task, 0),
		.rsi = first,
		.rdx = pages,
		.rcx = c->task[task].seed,
	};
}

/* In ring 3 until it is done, or a machine check takes it off. */
static void go(struct cpu *c, uint32_t task, const struct frame *f)
{
	c->current = task;
	c->lost = 0;
	c->no_return = 0;
	enter_user(f, trap_rsp0(c->index));
	c->current = BOARD_TASKS;
}

/*
 * The page is lost: out of use with it, and another one in its place with the bytes
 * that it must have, which the task writes itself, below what is on its stack. That
 * page may be lost as well.
 */
static enum end page_repair(struct cpu *c, uint32_t task, uint32_t page, uint64_t stack)
{
	struct frame f;
	uint32_t frame;

	do {
		page_remove(c, task, page, 1);
		page_add(c, task, page);
		frame = c->task[task].frame[page];
		f = begin(c, task, user_fill, page, 1, stack);
		go(c, task, &f);
		if (c->left_by == VECTOR_DONE) {
			counts()->repaired++;
			return STEP_DONE;
		}
		if (c->lost && c->lost != frame)
			nonsense("not the page that is filled", c->lost);
	} while (c->lost == frame && !c->no_return);
	if (c->lost == frame)
		page_remove(c, task, page, 1);
	return STEP_KILLED;
}

/* What a machine check has left of a task. */
static enum end task_served(struct cpu *c, uint32_t task, uint64_t stack)
{
	uint32_t page;

	if (!c->lost)
		return STEP_KILLED;
	page = frame_owner(c->lost).page;
	if (!c->no_return && page % 2 == 0)
		return page_repair(c, task, page, stack);
	page_remove(c, task, page, 1);
	return STEP_KILLED;
}

static enum end step(struct cpu *c, uint32_t task, user_fn fn)
{
	uint64_t stack = (uint64_t)user_stacks + (c->index + 1) * USER_STACK;
	struct frame f = begin(c, task, fn, 0, TASK_PAGES, stack);

	for (;;) {
		go(c, task, &f);
		if (c->left_by == VECTOR_DONE) {
			counts()->wrong_bytes += c->user.rax;
			return STEP_DONE;
		}
		f = c->user;	/* it goes on here if it can */
		if (task_served(c, task, f.rsp - 128) != STEP_DONE) {
			task_kill(c, task);
			return STEP_KILLED;
		}
	}
}

static uint64_t mixed(uint64_t n)
{
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9u;
	n = (n ^ n >> 27) * 0x94d049bb133111ebu;
	return n ^ n >> 31;
}

static void task_start(struct cpu *c, uint32_t task)
{
	struct task *t = &c->task[task];
	uint32_t page;

	t->seed = mixed(board.seed ^ mixed(++c->generation * BOARD_CPUS + c->index));
	for (page = 0; page < TASK_PAGES; page++)
		page_add(c, task, page);
	t->rounds = 8 + t->seed % 32;
	if (t->was_killed)
		counts()->restarted++;
	t->was_killed = 0;
	step(c, task, user_fill);
}

static void task_turn(struct cpu *c, uint32_t task)
{
	struct task *t = &c->task[task];

	if (!t->rounds)
		task_start(c, task);
	if (!t->rounds || step(c, task, user_verify) != STEP_DONE)
		return;
	counts()->steps++;
	if (--t->rounds)
		return;
	task_end(c, task);
	counts()->finished++;
}

/* A frame that is lost and that nobody waits for. */
static void drop(struct cpu *c, uint32_t frame)
{
	struct owner o = frame_find(frame);
	uint64_t stack = (uint64_t)user_stacks + (c->index + 1) * USER_STACK;

	if (o.state == FRAME_FREE)
		return;
	if (o.state == FRAME_OUT) {
		counts()->again++;
	} else if (o.cpu != c->index) {
		frame_send(o.cpu, frame);
	} else if (o.page % 2 != 0) {
		page_remove(c, o.task, o.page, 1);
		task_kill(c, o.task);
	} else if (page_repair(c, o.task, o.page, stack) != STEP_DONE) {
		task_kill(c, o.task);
	}
}

static void drop_all(struct cpu *c)
{
	uint32_t frame;

	while ((frame = queue_take(&c->found)) || (frame = frame_received()))
		drop(c, frame);
}

/* By the first CPU, before the others run. */
void tasks_start(void)
{
	uint64_t *top = (uint64_t *)TABLES_AT;
	uint32_t i;

	top[USER_BASE >> 39 & 511] = (uint64_t)upper | PTE_TABLE;
	upper[0] = (uint64_t)middle | PTE_TABLE;
	for (i = 0; i < BOARD_CPUS; i++)
		middle[i] = (uint64_t)lower[i] | PTE_TABLE;
}

static uint32_t began;			/* CPUs */

/* All of them, for the @time. */
static void meet(uint32_t time)
{
	static uint32_t came;

	__atomic_fetch_add(&came, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&came, __ATOMIC_ACQUIRE) <
	       time * __atomic_load_n(&began, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
}

void tasks_run(void)
{
	struct cpu *c = this_cpu();
	uint32_t task;

	__atomic_fetch_add(&began, 1, __ATOMIC_ACQ_REL);
	out32(PORT_READY, c->index);
	for (task = 0; !__atomic_load_n(&board.stop, __ATOMIC_ACQUIRE);
	     task = (task + 1) % BOARD_TASKS) {
		if (task % 4 == 0)
			mce_poll();
		drop_all(c);
		task_turn(c, task);
	}
	mce_poll();
	drop_all(c);
	/* what one finds may be another's, who has it in its inbox when all have
	 * looked; and that one may know by now that it is a third's */
	meet(1);
	drop_all(c);
	meet(2);
	drop_all(c);
	for (;;)
		__asm__ volatile("hlt");
}
