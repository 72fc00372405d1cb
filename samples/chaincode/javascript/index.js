'use strict';

// What fabric-chaincode-node reads: the contracts of this package.
const { AssetContract } = require('./lib/assetContract');

module.exports.AssetContract = AssetContract;
module.exports.contracts = [AssetContract];
