/*-------------------------------------------------------------------------
 *
 * audit_seal.h
 *		What sealing the log and checking its seals have in common.
 *
 * A seal is the signed root of a Merkle tree over the records of the
 * transactions that finished since the seal before.  Each seal holds the
 * hash of the one before it.  docs/audit.md describes every byte.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_AUDIT_SEAL_H
#define PLINTH_AUDIT_SEAL_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

#define AUDIT_HASH_SIZE 32

typedef struct AuditHash
{
	uint8 bytes[AUDIT_HASH_SIZE];
} AuditHash;

/*
 * A tree that takes its leaves one by one: the roots of the complete trees
 * that make it up, from the largest to the smallest.  A tree has fewer than
 * 2^48 leaves.
 */
#define AUDIT_TREE_HEIGHT 48

typedef struct AuditTree
{
	int64 count; /* leaves */
	int depth;	 /* of roots */
	AuditHash roots[AUDIT_TREE_HEIGHT];
} AuditTree;

/*
 * A seal has at most so many records, or one transaction: what takes long is
 * cut, so that the upkeep worker gets to its other work.
 */
#define AUDIT_SEAL_BATCH (250 * 1000)

/* What a seal keeps of each record, so that it can be named. */
#define AUDIT_LEAF_PREFIX 8

typedef struct AuditLeaf
{
	pg_uuid_t id;					 /* of the record */
	uint8 prefix[AUDIT_LEAF_PREFIX]; /* of the leaf's hash */
} AuditLeaf;

/* A seal of more records than this keeps no leaves. */
#define AUDIT_MAX_LEAVES (4 * 1000 * 1000)

/* Which transactions had finished.  Ids are full ones, of one era. */
typedef struct AuditSnapshot
{
	uint64 oldest;	 /* all before have finished */
	uint64 next;	 /* this and all after have not */
	int count;		 /* of running */
	uint64 *running; /* between, rising */
} AuditSnapshot;

/* A row of audit.seals.  A forged one may have values of any length. */
typedef struct AuditSeal
{
	int64 id;
	int16 era;
	char *snapshot_text;
	AuditSnapshot snapshot;
	TimestampTz first_at;
	TimestampTz last_at;
	int64 rows;
	bytea *root;
	bytea *previous;	/* hash of the seal before; NULL in the first */
	bytea *leaves_hash; /* NULL when no leaves are kept, or not read */
	bytea *signature;
	int16 key_id;
	TimestampTz sealed_at;
} AuditSeal;

/* Columns of the queries that plinth_audit_seal_read() reads. */
#define AUDIT_SEAL_COLUMNS                                     \
	"id, era, snapshot::text, first_at, last_at, rows, root, " \
	"previous, sha256(leaves), signature, key_id, sealed_at"
#define AUDIT_SEAL_NCOLUMNS 12

/* The columns of a record, in the order of AuditLogColumn. */
#define AUDIT_RECORD_COLUMNS                                       \
	"id, table_schema, table_name, record_id, record_pk, action, " \
	"old_data, new_data, changed_columns, user_id, user_email, "   \
	"db_user, ip_address, user_agent, session_id, "                \
	"application_name, era, txid, created_at"

/*
 * The records of a seal: $1 its era, $2 the snapshot before, $3 its own, $4
 * and $5 the times that they are between.
 */
#define AUDIT_UNSEALED                                       \
	"era = $1 AND txid >= pg_snapshot_xmin($2::pg_snapshot)" \
	" AND NOT pg_visible_in_snapshot(txid, $2::pg_snapshot)" \
	" AND pg_visible_in_snapshot(txid, $3::pg_snapshot)"     \
	" AND created_at >= $4 AND created_at <= $5"

typedef struct AuditRange
{
	TimestampTz first_at;
	TimestampTz last_at;
} AuditRange;

/* audit_batch.c */
extern void plinth_audit_batch_begin(AuditSeal *seal, const AuditSeal *last,
									 AuditRange *range);
extern void plinth_audit_batch_end(const AuditSeal *seal);

/* audit_tree.c */
extern void plinth_audit_hash(const void *bytes, size_t length, AuditHash *hash);
extern void plinth_audit_leaf_hash(const void *record, size_t length,
								   AuditHash *leaf);
extern void plinth_audit_tree_add(AuditTree *tree, const AuditHash *leaf);
extern void plinth_audit_tree_root(const AuditTree *tree, AuditHash *root);
extern int plinth_audit_tree_path(const AuditHash *leaves, int64 count,
								  int64 index, AuditHash *path);

/* audit_encode.c */
extern void plinth_audit_encode_record(StringInfo out, HeapTuple tuple,
									   TupleDesc tupdesc);
extern void plinth_audit_encode_seal(StringInfo out, const AuditSeal *seal);
extern void plinth_audit_seal_hash(const AuditSeal *seal, AuditHash *hash);

/* audit_chain.c */
extern Oid plinth_audit_seals_table(void);
extern void plinth_audit_seal_read(AuditSeal *seal, HeapTuple tuple,
								   TupleDesc tupdesc);
extern void plinth_audit_snapshot_read(AuditSnapshot *snapshot, const char *text);
extern bool plinth_audit_snapshot_sees(const AuditSnapshot *snapshot,
									   uint64 txid);
extern bool plinth_audit_same_hash(const bytea *stored, const AuditHash *hash);
extern const char *plinth_audit_seal_fault(const AuditSeal *seal);

/* audit_statement.c */
extern int16 plinth_audit_era(void);
extern int16 plinth_audit_read_era(bool *is_ours);

#endif /* PLINTH_AUDIT_SEAL_H */
