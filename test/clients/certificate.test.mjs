// A certificate of the module social, checked offline with nothing but Node's
// own crypto: by the very function that docs/certificates.md shows.  Needs
// PGHOST, PGPORT and a superuser in PGUSER; makes and drops a database.

import assert from 'node:assert/strict';
import { createHash, createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import pg from 'pg';

const database = 'plinth_clients_certificate';
const holder = '00000000-0000-4000-8000-0000000000a1';
const teacher = '00000000-0000-4000-8000-0000000000c1';
const skill = '00000000-0000-4000-8000-000000000051';
let admin;
let verifyCertificate;
let certificate;
let keys;

// As a user: what an HTTP front does for a request whose token it has checked.
async function as(user, text, values) {
  try {
    await admin.query('BEGIN');
    await admin.query(`SET LOCAL ROLE ${user ? 'authenticated' : 'anon'}`);
    await admin.query("SELECT set_config('request.jwt.claims', $1, true)",
      [user ? JSON.stringify({ sub: user, role: 'authenticated' }) : '']);
    return (await admin.query(text, values)).rows[0];
  } finally {
    await admin.query('COMMIT');
  }
}

before(async () => {
  const page = await readFile(new URL('../../docs/certificates.md', import.meta.url), 'utf8');
  const [, code] = /^```js\n(.*?)^```/ms.exec(page);
  ({ verifyCertificate } = await import(`data:text/javascript,${encodeURIComponent(`${code}export { verifyCertificate };`)}`));

  const root = new pg.Client({ database: 'postgres' });
  await root.connect();
  await root.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
  await root.query(`CREATE DATABASE ${database}`);
  await root.end();
  admin = new pg.Client({ database });
  await admin.connect();
  await admin.query('CREATE EXTENSION plinth CASCADE');
  await admin.query("SELECT plinth.install('social')");
  await admin.query(`
    INSERT INTO auth.users (id, email) VALUES ('${holder}', 'ann@example.com'), ('${teacher}', 'tess@example.com');
    INSERT INTO profiles.profiles (id, full_name, user_type) VALUES
      ('${holder}', 'Ann Ünïcode ☃ 🎓', 'student'), ('${teacher}', 'Tess Example', 'teacher');
    INSERT INTO social.skills (id, name) VALUES ('${skill}', 'Query planning');`);
  const { id } = await as(holder, "SELECT id FROM social.request_certification($1, 'advanced', 'portfolio')", [skill]);
  await as(teacher, "SELECT social.review_certification($1, 'approved', NULL, now() + '1 year')", [id]);
  certificate = await as(holder, 'SELECT certificate_number, issued_at, expires_at, signed_body FROM social.certifications');
  ({ keys } = await as(null, 'SELECT plinth.certificate_keys() AS keys'));
});

after(async () => {
  await admin?.end();
  const root = new pg.Client({ database: 'postgres' });
  await root.connect();
  await root.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
  await root.end();
});

const isGood = (signed, set = keys) => {
  try {
    return verifyCertificate(signed, set) !== null;
  } catch {
    return false;
  }
};

test('a certificate is verified without the server, and says what is printed', () => {
  const body = verifyCertificate(certificate.signed_body, keys);
  assert.deepEqual(Object.keys(body).sort(),
    ['expires_at', 'holder_name', 'issued_at', 'issuer', 'level', 'number', 'skill']);
  assert.equal(body.number, certificate.certificate_number);
  assert.equal(body.holder_name, 'Ann Ünïcode ☃ 🎓');
  assert.equal(body.skill, 'Query planning');
  assert.equal(body.level, 'advanced');
  assert.equal(new Date(body.issued_at).getTime(), certificate.issued_at.getTime());
  assert.equal(new Date(body.expires_at).getTime(), certificate.expires_at.getTime());
});

test('the public keys are public only', () => {
  assert.ok(keys.keys.length >= 1);
  for (const jwk of keys.keys) {
    assert.deepEqual(Object.keys(jwk).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x']);
    assert.equal(Buffer.from(jwk.x, 'base64url').length, 32);
  }
});

test('no changed byte goes unnoticed, in any part', () => {
  const parts = certificate.signed_body.split('.').map((part) => Buffer.from(part, 'base64url'));
  let tried = 0;
  parts.forEach((part, number) => {
    for (let at = 0; at < part.length; at++) {
      const changed = Buffer.from(part);
      changed[at] ^= 1;
      const signed = parts.map((other, i) => (i === number ? changed : other).toString('base64url')).join('.');
      assert.equal(isGood(signed), false, `byte ${at} of part ${number}`);
      tried++;
    }
  });
  assert.equal(tried, parts.reduce((sum, part) => sum + part.length, 0));
  assert.equal(isGood(certificate.signed_body), true);
});

test('another key, and another kind of token, are refused', async () => {
  const stranger = generateKeyPairSync('ed25519');
  const [header, body] = certificate.signed_body.split('.');
  const forged = `${header}.${body}.${sign(null, Buffer.from(`${header}.${body}`), stranger.privateKey).toString('base64url')}`;
  assert.equal(isGood(forged), false);
  assert.equal(isGood(certificate.signed_body, { keys: [] }), false);
  assert.equal(isGood(certificate.signed_body,
    { keys: keys.keys.map((jwk) => ({ ...jwk, x: stranger.publicKey.export({ format: 'jwk' }).x })) }), false);
  const { rows: [{ token }] } = await admin.query('SELECT plinth.jwt_sign($1) AS token', [{ sub: holder, role: 'authenticated' }]);
  assert.equal(isGood(token), false);
});

test('a certificate outlives the key that signed it', async () => {
  await admin.query("SELECT plinth.key_create('certificate')");
  const { keys: later } = await as(null, 'SELECT plinth.certificate_keys() AS keys');
  assert.equal(later.keys.length, keys.keys.length + 1);
  assert.equal(isGood(certificate.signed_body, later), true);
});

test('what Node signs with an imported key, the server verifies', async () => {
  // a key that is the same in each run, so that it is imported once
  const seed = createHash('sha256').update('plinth client test').digest();
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]), format: 'der', type: 'pkcs8',
  });
  const { x } = key.export({ format: 'jwk' });
  const kid = 'client-test';
  await admin.query("SELECT plinth.key_import($1, 'certificate')",
    [{ keys: [{ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', kid, x }] }]);
  const text = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const make = (header, body) => {
    const start = `${text(header)}.${text(body)}`;
    return `${start}.${sign(null, Buffer.from(start), key).toString('base64url')}`;
  };
  const header = { alg: 'EdDSA', kid, typ: 'plinth-certificate+jws' };
  const verify = async (signed) => (await as(null, 'SELECT plinth.certificate_verify($1) AS body', [signed])).body;
  assert.deepEqual(await verify(make(header, { number: 'ANOTHER-1' })), { number: 'ANOTHER-1' });
  // well signed, and still no certificate
  assert.equal(await verify(make(header, ['number'])), null);
  assert.equal(await verify(make({ alg: 'EdDSA', kid, typ: 'JWT' }, { number: 'ANOTHER-1' })), null);
  assert.equal(await verify(make({ ...header, crit: ['exp'] }, { number: 'ANOTHER-1' })), null);
  assert.equal(await verify(make({ typ: header.typ, kid, alg: 'EdDSA' }, { number: 'ANOTHER-1' })), null);
  const twice = `${text(header)}.${Buffer.from('{"a":1,"a":2}').toString('base64url')}`;
  assert.equal(await verify(`${twice}.${sign(null, Buffer.from(twice), key).toString('base64url')}`), null);
});
