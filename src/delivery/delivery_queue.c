/*-------------------------------------------------------------------------
 *
 * delivery_queue.c
 *		Messages on their way from a session to the stream worker.
 *
 * What is sent to a topic at once does not go through the WAL: it waits here
 * until the worker of its database takes it, which is woken for it.  Each
 * database with a worker has a list of its own; messages lie in blocks that
 * all share, of which one database may have half.  Where no worker is there
 * is nobody to be told either: readers get a gap when one comes.
 *
 * Locking: queue->lock guards everything here.  It is held for one message's
 * worth of copying; no error is raised and no memory is taken meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delivery/delivery.h"
#include "delivery/delivery_internal.h"

#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/compat.h"

#define QUEUE_TRANCHE "plinth queue"
#define QUEUE_BLOCKS 8192 /* 4 MB of them */
#define QUEUE_BLOCK_BYTES 508
#define QUEUE_NONE (-1)

/* The bytes come first, so that they are aligned as the blocks are. */
typedef struct QueueBlock
{
	char bytes[QUEUE_BLOCK_BYTES];
	int next;
} QueueBlock;

/* The first bytes of a message. */
typedef struct QueueHead
{
	int next_message; /* its first block */
	uint32 length;
	TimestampTz sent_at;
} QueueHead;

/* The stream worker of a database. */
typedef struct QueueDatabase
{
	Oid database; /* InvalidOid in a free entry */
	int pid;
	int first; /* messages */
	int last;
	int blocks; /* that they take */
} QueueDatabase;

typedef struct QueueShared
{
	LWLock *lock;
	ConditionVariable room; /* blocks have become free */
	int ndatabases;
	int first_free;
	int free_blocks;
} QueueShared;

/* A walk over the blocks of a message. */
typedef struct QueueWalk
{
	int block;
	int used; /* bytes of it */
} QueueWalk;

static QueueShared *queue = NULL;
static QueueBlock *queue_blocks = NULL;
static QueueDatabase *queue_databases = NULL;
static QueueDatabase *mine = NULL; /* while this process is the worker */

static QueueDatabase *find_database(Oid database);
static int take_blocks(int count);
static void give_blocks(int first);
static void copy_in(QueueWalk *walk, const void *bytes, Size length);
static void copy_out(QueueWalk *walk, void *bytes, Size length);
static int blocks_for(Size length);
static void on_worker_exit(int code, Datum arg);

void
plinth_delivery_queue_request(void)
{
	Size size = MAXALIGN(sizeof(QueueShared));

	size = add_size(size, mul_size(QUEUE_BLOCKS, sizeof(QueueBlock)));
	size = add_size(size, mul_size(max_worker_processes, sizeof(QueueDatabase)));
	size = add_size(size, 4 * PG_CACHE_LINE_SIZE);
	RequestAddinShmemSpace(size);
	RequestNamedLWLockTranche(QUEUE_TRANCHE, 1);
}

void
plinth_delivery_queue_startup(void)
{
	bool found;

	queue = ShmemInitStruct(QUEUE_TRANCHE, sizeof(QueueShared), &found);
	queue_blocks =
		ShmemInitStruct("plinth queue blocks",
						mul_size(QUEUE_BLOCKS, sizeof(QueueBlock)), &found);
	queue_databases = ShmemInitStruct(
		"plinth queue databases",
		mul_size(max_worker_processes, sizeof(QueueDatabase)), &found);
	if (found)
		return;

	queue->lock = &(GetNamedLWLockTranche(QUEUE_TRANCHE))->lock;
	ConditionVariableInit(&queue->room);
	queue->ndatabases = max_worker_processes;
	queue->first_free = 0;
	queue->free_blocks = QUEUE_BLOCKS;
	for (int i = 0; i < QUEUE_BLOCKS; i++)
		queue_blocks[i].next = i + 1 < QUEUE_BLOCKS ? i + 1 : QUEUE_NONE;
	memset(queue_databases, 0,
		   mul_size(max_worker_processes, sizeof(QueueDatabase)));
}

/*
 * This process takes the messages of its database.
 */
void
plinth_delivery_attach_worker(void)
{
	static bool registered = false;

	if (queue == NULL)
		return;
	if (!registered)
	{
		before_shmem_exit(on_worker_exit, (Datum) 0);
		registered = true;
	}
	plinth_delivery_detach_worker();

	LWLockAcquire(queue->lock, LW_EXCLUSIVE);
	for (int i = 0; i < queue->ndatabases && mine == NULL; i++)
		if (queue_databases[i].database == InvalidOid)
			mine = &queue_databases[i];
	if (mine != NULL)
	{
		mine->database = MyDatabaseId;
		mine->pid = MyProcPid;
		mine->first = mine->last = QUEUE_NONE;
		mine->blocks = 0;
	}
	LWLockRelease(queue->lock);

	if (mine == NULL)
		elog(ERROR, "no entry is free for the stream worker");
}

/*
 * Nobody takes them any more.
 */
void
plinth_delivery_detach_worker(void)
{
	if (mine == NULL)
		return;

	LWLockAcquire(queue->lock, LW_EXCLUSIVE);
	while (mine->first != QUEUE_NONE)
	{
		QueueHead *head = (QueueHead *) queue_blocks[mine->first].bytes;
		int next = head->next_message;

		give_blocks(mine->first);
		mine->first = next;
	}
	mine->database = InvalidOid;
	mine->pid = 0;
	mine = NULL;
	LWLockRelease(queue->lock);
	ConditionVariableBroadcast(&queue->room);
}

/*
 * Put a message into the queue of this database, waiting for room if need be,
 * at most the time given.  False: there was none.
 */
bool
plinth_delivery_enqueue(const char *bytes, Size length, int timeout_ms)
{
	TimestampTz until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	int count = blocks_for(length);
	bool done = false;

	for (;;)
	{
		QueueDatabase *database;
		long left;

		LWLockAcquire(queue->lock, LW_EXCLUSIVE);
		database = find_database(MyDatabaseId);
		done = database == NULL;
		if (database != NULL && count <= queue->free_blocks &&
			database->blocks + count <= QUEUE_BLOCKS / 2)
		{
			QueueHead head = {.next_message = QUEUE_NONE,
							  .length = (uint32) length,
							  .sent_at = GetCurrentTimestamp()};
			int first = take_blocks(count);
			QueueWalk walk = {.block = first};

			copy_in(&walk, &head, sizeof(head));
			copy_in(&walk, bytes, length);
			if (database->first == QUEUE_NONE)
				database->first = first;
			else
				((QueueHead *) queue_blocks[database->last].bytes)->next_message =
					first;
			database->last = first;
			database->blocks += count;
			done = true;
		}
		LWLockRelease(queue->lock);
		if (done)
			break;

		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&queue->room, left,
										   plinth_wait_event("PlinthQueue"));
	}
	ConditionVariableCancelSleep();

	return done;
}

/*
 * Is there a message for this worker?  Reads without the lock: whoever puts
 * one in sets the worker's latch afterwards.
 */
bool
plinth_delivery_queued(void)
{
	return mine != NULL && *(volatile int *) &mine->first != QUEUE_NONE;
}

/*
 * The next message, in the current memory context; NULL when there is none.
 */
char *
plinth_delivery_dequeue(Size *length, TimestampTz *sent_at)
{
	char *bytes;
	QueueHead head;
	QueueWalk walk;
	int first;

	if (!plinth_delivery_queued())
		return NULL;

	/* Only this process takes messages out, so the first one stays first. */
	LWLockAcquire(queue->lock, LW_SHARED);
	first = mine->first;
	head = *(QueueHead *) queue_blocks[first].bytes;
	LWLockRelease(queue->lock);

	bytes = palloc(head.length);
	LWLockAcquire(queue->lock, LW_EXCLUSIVE);
	head = *(QueueHead *) queue_blocks[first].bytes;
	walk = (QueueWalk){.block = first, .used = sizeof(QueueHead)};
	copy_out(&walk, bytes, head.length);
	mine->first = head.next_message;
	if (mine->first == QUEUE_NONE)
		mine->last = QUEUE_NONE;
	mine->blocks -= blocks_for(head.length);
	give_blocks(first);
	LWLockRelease(queue->lock);
	ConditionVariableBroadcast(&queue->room);

	*length = head.length;
	*sent_at = head.sent_at;
	return bytes;
}

/*
 * The list of a database, or NULL.  The caller holds the lock.
 */
static QueueDatabase *
find_database(Oid database)
{
	for (int i = 0; i < queue->ndatabases; i++)
		if (queue_databases[i].database == database)
			return &queue_databases[i];
	return NULL;
}

/*
 * A chain of blocks; the caller has seen that there are as many.
 */
static int
take_blocks(int count)
{
	int first = queue->first_free;
	int last = first;

	for (int i = 1; i < count; i++)
		last = queue_blocks[last].next;
	queue->first_free = queue_blocks[last].next;
	queue->free_blocks -= count;
	queue_blocks[last].next = QUEUE_NONE;
	return first;
}

static void
give_blocks(int first)
{
	int last = first;
	int count = 1;

	while (queue_blocks[last].next != QUEUE_NONE)
	{
		last = queue_blocks[last].next;
		count++;
	}
	queue_blocks[last].next = queue->first_free;
	queue->first_free = first;
	queue->free_blocks += count;
}

static void
copy_in(QueueWalk *walk, const void *bytes, Size length)
{
	const char *from = bytes;

	while (length > 0)
	{
		Size piece = Min(length, (Size) (QUEUE_BLOCK_BYTES - walk->used));

		memcpy(queue_blocks[walk->block].bytes + walk->used, from, piece);
		from += piece;
		length -= piece;
		walk->used += (int) piece;
		if (walk->used == QUEUE_BLOCK_BYTES)
		{
			walk->block = queue_blocks[walk->block].next;
			walk->used = 0;
		}
	}
}

static void
copy_out(QueueWalk *walk, void *bytes, Size length)
{
	char *to = bytes;

	while (length > 0)
	{
		Size piece = Min(length, (Size) (QUEUE_BLOCK_BYTES - walk->used));

		memcpy(to, queue_blocks[walk->block].bytes + walk->used, piece);
		to += piece;
		length -= piece;
		walk->used += (int) piece;
		if (walk->used == QUEUE_BLOCK_BYTES)
		{
			walk->block = queue_blocks[walk->block].next;
			walk->used = 0;
		}
	}
}

static int
blocks_for(Size length)
{
	return (int) ((sizeof(QueueHead) + length + QUEUE_BLOCK_BYTES - 1) /
				  QUEUE_BLOCK_BYTES);
}

/*
 * The worker is going.
 */
static void
on_worker_exit(int code, Datum arg)
{
	plinth_delivery_detach_worker();
}
