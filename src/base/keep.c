/*-------------------------------------------------------------------------
 *
 * keep.c
 *		Keeps a table of shared memory in a file over a clean restart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/keep.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#define KEEP_MODE (S_IRUSR | S_IWUSR)

typedef struct KeepHeader
{
	uint64 magic;
	uint64 system_identifier;
	uint64 count;
	uint64 record_size;
	pg_crc32c crc; /* of the header up to here, and the records */
} KeepHeader;

static void *load_file(int fd, KeepHeader *expected);
static bool write_all(int fd, const void *bytes, Size size);
static bool read_all(int fd, void *bytes, Size size);
static pg_crc32c checksum(const KeepHeader *header, const void *records);

bool
plinth_keep_is_clean_shutdown(void)
{
	bool crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);

	return crc_ok && (control->state == DB_SHUTDOWNED ||
					  control->state == DB_SHUTDOWNED_IN_RECOVERY);
}

void
plinth_keep_write(const char *name, uint64 magic, uint64 system_identifier,
				  const void *records, Size record_size, uint64 count)
{
	KeepHeader header;
	char unfinished[MAXPGPATH];
	int fd;

	/* no byte of the file is left to chance */
	memset(&header, 0, sizeof(header));
	header.magic = magic;
	header.system_identifier = system_identifier;
	header.count = count;
	header.record_size = record_size;
	header.crc = checksum(&header, records);

	snprintf(unfinished, sizeof(unfinished), "%s.tmp", name);
	unlink(unfinished);
	fd = OpenTransientFilePerm(
		unfinished, O_CREAT | O_EXCL | O_WRONLY | PG_BINARY, KEEP_MODE);
	if (fd < 0)
	{
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not create file \"%s\": %m", unfinished)));
		return;
	}
	if (!write_all(fd, &header, sizeof(header)) ||
		!write_all(fd, records, record_size * count))
	{
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not write file \"%s\": %m", unfinished)));
		CloseTransientFile(fd);
		unlink(unfinished);
		return;
	}
	CloseTransientFile(fd);
	(void) durable_rename(unfinished, name, LOG);
}

void *
plinth_keep_read(const char *name, uint64 magic, uint64 system_identifier,
				 Size record_size, uint64 *count, const char *lost)
{
	KeepHeader expected = {.magic = magic,
						   .system_identifier = system_identifier,
						   .record_size = record_size};
	void *records;
	int fd;

	*count = 0;
	fd = OpenTransientFile(name, O_RDONLY | PG_BINARY);
	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(),
						  errmsg("could not open file \"%s\": %m", name)));
		return NULL;
	}

	records = load_file(fd, &expected);
	if (records != NULL)
		*count = expected.count;
	else
		ereport(LOG, (errcode(ERRCODE_DATA_CORRUPTED),
					  errmsg("ignoring file \"%s\": it was not saved whole by this "
							 "cluster and version",
							 name),
					  errdetail_internal("%s", lost)));

	CloseTransientFile(fd);
	if (unlink(name) != 0)
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not remove file \"%s\": %m", name)));

	return records;
}

/*
 * Read and check the whole file before any of it is used.
 */
static void *
load_file(int fd, KeepHeader *expected)
{
	KeepHeader header;
	struct stat status;
	void *records;
	Size size;

	if (fstat(fd, &status) != 0 || !read_all(fd, &header, sizeof(header)) ||
		header.magic != expected->magic ||
		header.system_identifier != expected->system_identifier ||
		header.record_size != expected->record_size || header.count == 0 ||
		header.count > MaxAllocHugeSize / header.record_size)
		return NULL;
	size = header.count * header.record_size;
	if ((uint64) status.st_size != sizeof(header) + size)
		return NULL;

	records = MemoryContextAllocHuge(CurrentMemoryContext, size);
	if (!read_all(fd, records, size) ||
		!EQ_CRC32C(header.crc, checksum(&header, records)))
	{
		pfree(records);
		return NULL;
	}
	expected->count = header.count;

	return records;
}

static bool
write_all(int fd, const void *bytes, Size size)
{
	const char *from = bytes;

	while (size > 0)
	{
		ssize_t written = write(fd, from, size);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			/* a short write without a reason is a full disk */
			if (written == 0)
				errno = ENOSPC;
			return false;
		}
		from += written;
		size -= written;
	}

	return true;
}

static bool
read_all(int fd, void *bytes, Size size)
{
	char *to = bytes;

	while (size > 0)
	{
		ssize_t got = read(fd, to, size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		to += got;
		size -= got;
	}

	return true;
}

static pg_crc32c
checksum(const KeepHeader *header, const void *records)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, header, offsetof(KeepHeader, crc));
	COMP_CRC32C(crc, records, header->record_size * header->count);
	FIN_CRC32C(crc);

	return crc;
}
