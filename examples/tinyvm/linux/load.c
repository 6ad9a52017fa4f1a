/* SPDX-License-Identifier: MIT */
/*
 * The 64-bit boot protocol, Documentation/arch/x86/boot.rst in Linux: the kernel's
 * second half where it prefers to be, a page of parameters, the command line, the
 * archive with the program, and page tables that show the first 4 GiB as they are.
 */
#define _GNU_SOURCE
#include "linux.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB		(1u << 20)
#define COMMAND_LINE	0x6000u
#define LOW_END		0x9f000u	/* where ordinary memory of old ends */
#define ENTRY_64	0x200u

/* No table says what there is, and there is nothing; it ends by a triple fault. */
static const char command_line[] =
	"console=ttyS0 panic=-1 reboot=t acpi=off pci=off "
	"no_timer_check mitigations=off noxsave random.trust_cpu=on loglevel=5 "
	"memory_corruption_check=0 nowatchdog";

struct file {
	unsigned char *at;
	uint64_t len;
};

static int map_file(const char *path, struct file *f)
{
	struct stat st;
	int fd;

	f->at = MAP_FAILED;
	errno = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !fstat(fd, &st) && S_ISDIR(st.st_mode)) {
		errno = EISDIR;
	} else if (fd >= 0 && !errno && st.st_size > 0) {
		f->len = (uint64_t)st.st_size;
		f->at = mmap(NULL, f->len, PROT_READ, MAP_PRIVATE, fd, 0);
	}
	if (fd >= 0)
		close(fd);
	if (f->at != MAP_FAILED)
		return 0;
	fprintf(stderr, "tinyvm: %s: %s\n", path, errno ? strerror(errno) : "is empty");
	return -1;
}

/* ----------------------------------------------------------- the archive */

/* One entry of a "newc" archive: cpio(5). Where the next one goes. */
static unsigned char *entry(unsigned char *to, const char *name, uint32_t mode,
			    const struct file *f)
{
	uint64_t len = f ? f->len : 0;
	char head[111];

	snprintf(head, sizeof(head),
		 "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		 0, mode, 0, 0, 1, 0, (unsigned int)len, 0, 0, 0, 0,
		 (unsigned int)strlen(name) + 1, 0);
	memcpy(to, head, 110);
	memcpy(to + 110, name, strlen(name) + 1);
	to += (110 + strlen(name) + 1 + 3) & ~(size_t)3;
	if (len)
		memcpy(to, f->at, len);
	return to + ((len + 3) & ~(uint64_t)3);
}

/* The program at the end of memory, whole pages. Its length, 0: no room. */
static uint64_t load_archive(unsigned char *memory, uint64_t len, const struct file *init,
			     uint64_t *ret_at)
{
	uint64_t room = (init->len + 4096 + 4095) & ~4095ull;
	unsigned char *to;

	if (room > len / 2)
		return 0;
	*ret_at = len - room;
	to = memory + *ret_at;
	to = entry(to, "dev", S_IFDIR | 0755, NULL);
	to = entry(to, "proc", S_IFDIR | 0755, NULL);
	to = entry(to, "init", S_IFREG | 0755, init);
	to = entry(to, "TRAILER!!!", 0, NULL);
	return (uint64_t)(to - memory) - *ret_at;
}

/* ------------------------------------------------------------ the kernel */

static const char *why_not(const struct file *kernel, const struct setup_header *h)
{
	if (kernel->len < 0x1000 || h->boot_flag != 0xaa55 || h->header != 0x53726448)
		return "is no kernel in the form of a bzImage";
	if (h->version < 0x20c || !(h->xloadflags & XLF_KERNEL_64))
		return "has no 64-bit entry";
	return NULL;
}

static void add_memory(struct boot_params *p, uint64_t start, uint64_t end)
{
	p->e820_table[p->e820_entries++] = (struct boot_e820_entry){
		.addr = start, .size = end - start, .type = 1,
	};
}

static void map_low(unsigned char *memory)
{
	uint64_t *top = (uint64_t *)(void *)(memory + LINUX_TABLES);
	uint64_t *third = top + 512, *second = third + 512;
	uint64_t i;

	top[0] = (LINUX_TABLES + 0x1000) | 3;
	for (i = 0; i < 4; i++)
		third[i] = (LINUX_TABLES + 0x2000 + i * 0x1000) | 3;
	for (i = 0; i < 4 * 512; i++)
		second[i] = i << 21 | 0x83;
}

static uint64_t load(unsigned char *memory, uint64_t len, const char *name,
		     const struct file *kernel, const struct file *init)
{
	struct boot_params *p = (void *)(memory + LINUX_PARAMS);
	const struct setup_header *h = (const void *)(kernel->at + 0x1f1);
	uint64_t *gdt = (void *)(memory + LINUX_GDT);
	const char *why = why_not(kernel, h);
	uint64_t skip, archive = 0, size;

	if (why) {
		fprintf(stderr, "tinyvm: %s %s\n", name, why);
		return 0;
	}
	skip = (h->setup_sects ? h->setup_sects + 1u : 5u) * 512u;
	size = load_archive(memory, len, init, &archive);
	if (!size || skip >= kernel->len || h->pref_address + h->init_size > archive) {
		fprintf(stderr, "tinyvm: %s and the program do not fit into %llu MiB\n",
			name, (unsigned long long)(len / MIB));
		return 0;
	}
	memcpy(memory + h->pref_address, kernel->at + skip, kernel->len - skip);
	memcpy(memory + COMMAND_LINE, command_line, sizeof(command_line));
	memset(p, 0, sizeof(*p));
	/* the header's own length: its jump's target, from there on */
	memcpy(&p->hdr, h, 0x202 - 0x1f1 + kernel->at[0x201]);
	p->hdr.type_of_loader = 0xff;
	p->hdr.cmd_line_ptr = COMMAND_LINE;
	p->hdr.ramdisk_image = (uint32_t)archive;
	p->hdr.ramdisk_size = (uint32_t)size;
	add_memory(p, 0, LOW_END);
	add_memory(p, MIB, len);
	map_low(memory);
	gdt[2] = 0x00af9b000000ffff;	/* __BOOT_CS, __BOOT_DS */
	gdt[3] = 0x00cf93000000ffff;
	return h->pref_address + ENTRY_64;
}

uint64_t linux_load(unsigned char *memory, uint64_t len, const char *kernel,
		    const char *init)
{
	struct file k, i;
	uint64_t entry_at;

	if (map_file(kernel, &k))
		return 0;
	if (map_file(init, &i)) {
		munmap(k.at, k.len);
		return 0;
	}
	entry_at = load(memory, len, kernel, &k, &i);
	munmap(i.at, i.len);
	munmap(k.at, k.len);
	return entry_at;
}
